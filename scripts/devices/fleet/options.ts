import type { LoginOptions } from './logins.ts'

/** An option on the command line is missing, unknown or out of range; the message names it. */
export class UsageError extends Error {
  readonly code = 'FLEET_USAGE'
}

/** Options that every fleet has, for `parseArgs`. */
export const FLEET_ARGUMENTS = {
  url: { type: 'string', default: 'mqtt://127.0.0.1:1883' },
  'in-flight': { type: 'string', default: '16' },
  patience: { type: 'string', default: '60' },
  credentials: { type: 'string' },
  username: { type: 'string' },
  'password-file': { type: 'string' },
  'token-file': { type: 'string' },
  ca: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false }
} as const

/** The part of `--help` that tells them. */
export const FLEET_HELP = `  --url URL         the gateway: mqtt://, mqtts://, ws:// or wss:// (mqtt://127.0.0.1:1883)
  --credentials F   a secret for each device, as npm run credentials -- import writes them
  --username NAME   with --password-file F, which holds its secret, for all devices (the device's own id)
  --token-file F    holds an access token (JWT) that stands for the password
  --ca FILE         certificates (PEM) to trust instead of the system's, for mqtts:// and wss://
  --in-flight N     readings that a device sends ahead of their acknowledgements, at most (16)
  --patience S      give up after S seconds without any acknowledgement (60)
  --help            this text
`

/** A number from the command line. @throws `FLEET_USAGE` */
export function parseNumber (name: string, text: string, { min, max, whole = false }: {
  min: number
  max: number
  whole?: boolean
}): number {
  const value = text.trim() === '' ? NaN : Number(text)
  if (!(value >= min && value <= max) || (whole && !Number.isInteger(value))) {
    throw new UsageError(`--${name} must be a ${whole ? 'whole ' : ''}number from ${min} to ${max}, not "${text}"`)
  }
  return value
}

/** Checks the values of {@link FLEET_ARGUMENTS}. @throws `FLEET_USAGE` */
export function parseFleetOptions (values: {
  url: string
  'in-flight': string
  patience: string
  credentials?: string | undefined
  username?: string | undefined
  'password-file'?: string | undefined
  'token-file'?: string | undefined
  ca?: string | undefined
}): {
    url: string
    inFlightMax: number
    patienceMs: number
    login: LoginOptions
  } {
  if (!/^(?:mqtts?|tcp|wss?):\/\/[^/]/.test(values.url) || !URL.canParse(values.url)) {
    throw new UsageError('--url must look like mqtt://host:port (or mqtts, ws, wss)')
  }
  const { credentials, username, 'password-file': passwordFile, 'token-file': tokenFile } = values
  const { username: urlUser, password: urlPassword } = new URL(values.url)
  if (urlUser !== '' || urlPassword !== '') throw new UsageError('--url must hold no user and no password: others would see them. Use --username and --password-file')
  if ([credentials, passwordFile, tokenFile].filter((file) => file !== undefined).length > 1) {
    throw new UsageError('give one of --credentials, --password-file and --token-file')
  }
  if (username !== undefined && passwordFile === undefined && tokenFile === undefined) throw new UsageError('--username needs --password-file or --token-file')
  return {
    url: values.url,
    // MQTT has 65,535 packet ids per client; far fewer already saturate a gateway.
    inFlightMax: parseNumber('in-flight', values['in-flight'], { min: 1, max: 10_000, whole: true }),
    patienceMs: 1000 * parseNumber('patience', values.patience, { min: 0.1, max: 86_400 }),
    login: { username, passwordFile, tokenFile, credentialsFile: credentials, ca: values.ca }
  }
}
