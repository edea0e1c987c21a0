import { isIP } from 'node:net'
import { resolve } from 'node:path'
import { type Environment, parseEnvironment } from '../schemas/environment.ts'

/** The gateway's configuration, frozen; each part receives the slice it needs. */
export interface Config {
  /** `null`: start the embedded PostgreSQL in `dataDir`. */
  readonly databaseUrl: string | null
  readonly databaseConnectionsMax: number
  readonly dataDir: string
  readonly host: string
  readonly mqttPort: number
  readonly httpPort: number
  readonly packetBytesMax: number
  readonly deniedFilters: readonly string[]
  readonly ackTimeoutMs: number
  readonly flushIntervalMs: number
  readonly commitTimeoutMs: number
  readonly spoolBytesMax: number
  readonly batchReadingsMax: number
  readonly bufferReadingsMax: number
  readonly bufferBytesMax: number
  readonly deadLettersMax: number
  readonly deadLettersPerDeviceMax: number
  /** 0 keeps all. */
  readonly retentionDays: number
  readonly logLevel: Environment['VITAL_LOG_LEVEL']
  /** Told at start, in readiness and in the log. */
  readonly warnings: readonly string[]
}

/** The configuration is wrong; `message` names every variable and what it must be. */
export class ConfigError extends Error {
  readonly code = 'VITAL_CONFIG_INVALID'
}

/**
 * Environment → configuration.
 * @throws {@link ConfigError} for an unknown `VITAL_*` name, a bad value, or a binding that would let anyone in
 */
export function createConfig (variables: Readonly<Record<string, string | undefined>>): Config {
  const parsed = parseEnvironment(variables)
  if ('faults' in parsed) {
    const faults = parsed.faults.map(({ path, message }) => `  ${path.slice(1)} ${message}`)
    throw new ConfigError(`The environment is not valid:\n${faults.join('\n')}\nSee .env.example for every variable.`)
  }
  const values = parsed.values
  const isOpen = !isLoopback(values.VITAL_HOST)
  if (isOpen && !values.VITAL_ALLOW_ANONYMOUS) {
    throw new ConfigError(`VITAL_HOST=${values.VITAL_HOST} would let anyone on the network publish and read vital signs, ` +
      'because no credentials exist. Bind 127.0.0.1, or set VITAL_ALLOW_ANONYMOUS=true if the network itself keeps strangers out.')
  }
  return Object.freeze({
    databaseUrl: values.DATABASE_URL ?? null,
    databaseConnectionsMax: values.VITAL_DATABASE_CONNECTIONS_MAX,
    dataDir: resolve(values.VITAL_DATA_DIR),
    host: values.VITAL_HOST,
    mqttPort: values.VITAL_MQTT_PORT,
    httpPort: values.VITAL_HTTP_PORT,
    packetBytesMax: values.VITAL_PACKET_BYTES_MAX,
    deniedFilters: values.VITAL_MQTT_DENIED_FILTERS.split(',').map((filter) => filter.trim()).filter((filter) => filter !== ''),
    ackTimeoutMs: values.VITAL_ACK_TIMEOUT_MS,
    flushIntervalMs: values.VITAL_FLUSH_INTERVAL_MS,
    commitTimeoutMs: values.VITAL_COMMIT_TIMEOUT_MS,
    spoolBytesMax: values.VITAL_SPOOL_BYTES_MAX,
    batchReadingsMax: values.VITAL_BATCH_READINGS_MAX,
    bufferReadingsMax: values.VITAL_BUFFER_READINGS_MAX,
    bufferBytesMax: values.VITAL_BUFFER_BYTES_MAX,
    deadLettersMax: values.VITAL_DEAD_LETTERS_MAX,
    deadLettersPerDeviceMax: values.VITAL_DEAD_LETTERS_PER_DEVICE_MAX,
    retentionDays: values.VITAL_RETENTION_DAYS,
    logLevel: values.VITAL_LOG_LEVEL,
    warnings: isOpen ? [`anyone who reaches ${values.VITAL_HOST} may publish and read: no credentials exist`] : []
  })
}

/** The process's environment, with `.env` of the working directory beneath it when that file is there. */
export function readEnvironment (): NodeJS.ProcessEnv {
  try {
    process.loadEnvFile()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw new ConfigError('.env cannot be read', { cause: error })
  }
  return process.env
}

function isLoopback (host: string): boolean {
  if (host === 'localhost' || host === '::1') return true
  return isIP(host) === 4 && host.startsWith('127.')
}
