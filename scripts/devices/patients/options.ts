import { randomInt } from 'node:crypto'
import { FLEET_ARGUMENTS, FLEET_HELP, parseFleetOptions, parseNumber, UsageError } from '../fleet/options.ts'
import { parseArgsOnce } from '../../command-line/arguments.ts'

/** What `npm run simulate -- --help` prints. */
export const SIMULATE_HELP = `Publishes readings of made-up devices (fitbands, bedside monitors, smart scales) into a gateway over MQTT.

  npm run simulate -- --devices 1000 --rate 1

  --devices N       made-up devices, each with a connection of its own (100, or all of --credentials)
  --rate R          readings per device and second (1)
  --duration S      seconds for which each device reports (60)
  --seed N          decides every value; printed, so that a run can be repeated (random)
  --connect-rate N  devices that connect per second (200)
${FLEET_HELP}`

/** Seeds are 31 bits, which anyone can type again. */
const SEED_MAX = 2 ** 31

/**
 * Reads the command line of `simulate`; without `--seed` it draws one.
 * @returns `null` when help was asked for; `devices` is `null` for the default, `rate` and `connectRate` are per second
 * @throws `FLEET_USAGE`
 */
export function parseSimulateOptions (args: readonly string[]) {
  const values = parseValues(args)
  if (values.help) return null
  return {
    ...parseFleetOptions(values),
    devices: values.devices === undefined ? null : parseNumber('devices', values.devices, { min: 1, max: 50_000, whole: true }),
    rate: parseNumber('rate', values.rate, { min: 0.001, max: 1000 }),
    durationS: parseNumber('duration', values.duration, { min: 0.001, max: 10_000_000 }),
    connectRate: parseNumber('connect-rate', values['connect-rate'], { min: 0.1, max: 100_000 }),
    seed: values.seed === undefined ? randomInt(SEED_MAX) : parseNumber('seed', values.seed, { min: 0, max: SEED_MAX, whole: true })
  }
}

function parseValues (args: readonly string[]) {
  try {
    return parseArgsOnce({
      args: [...args],
      options: {
        ...FLEET_ARGUMENTS,
        devices: { type: 'string' },
        rate: { type: 'string', default: '1' },
        duration: { type: 'string', default: '60' },
        seed: { type: 'string' },
        'connect-rate': { type: 'string', default: '200' }
      }
    }).values
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? cause.message : String(cause), { cause })
  }
}
