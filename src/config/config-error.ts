/** The configuration is wrong; `message` names every variable and what it must be. */
export class ConfigError extends Error {
  readonly code = 'VITAL_CONFIG_INVALID'
}
