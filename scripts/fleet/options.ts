/** An option on the command line is missing, unknown or out of range; the message names it. */
export class UsageError extends Error {
  readonly code = 'FLEET_USAGE'
}

/** Options that every fleet has, for `parseArgs`. */
export const FLEET_ARGUMENTS = {
  url: { type: 'string', default: 'mqtt://127.0.0.1:1883' },
  'in-flight': { type: 'string', default: '16' },
  patience: { type: 'string', default: '60' },
  help: { type: 'boolean', short: 'h', default: false }
} as const

/** The part of `--help` that tells them. */
export const FLEET_HELP = `  --url URL         the gateway; user:password@ before the host logs in (mqtt://127.0.0.1:1883)
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
export function parseFleetOptions (values: { url: string, 'in-flight': string, patience: string }): {
  url: string
  inFlightMax: number
  patienceMs: number
} {
  if (!/^(?:mqtts?|tcp|wss?):\/\/[^/]/.test(values.url) || !URL.canParse(values.url)) {
    throw new UsageError('--url must look like mqtt://host:port (or mqtts, ws, wss)')
  }
  return {
    url: values.url,
    // MQTT has 65,535 packet ids per client; far fewer already saturate a gateway.
    inFlightMax: parseNumber('in-flight', values['in-flight'], { min: 1, max: 10_000, whole: true }),
    patienceMs: 1000 * parseNumber('patience', values.patience, { min: 0.1, max: 86_400 })
  }
}
