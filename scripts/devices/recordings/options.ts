import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { FLEET_ARGUMENTS, FLEET_HELP, parseFleetOptions, parseNumber, UsageError } from '../fleet/options.ts'
import type { RespZero } from './playback.ts'
import { parseArgsOnce } from '../../command-line/arguments.ts'

/** What `npm run replay -- --help` prints. */
export const REPLAY_HELP = `Plays the BIDMC recordings of bedside monitors into a gateway over MQTT, each file as one device.

  npm run replay -- --speed 60

  --speed N         1 is real time, 60 plays a minute each second; 0 or max plays as fast as acknowledgements come (1)
  --data DIR        folder with bidmc_*_Numerics.csv (../shared/data/bidmc beside the checkout, else test/fixtures/bidmc)
  --start S         Unix seconds of each recording's first sample; the same start gives the same readings
                    (now less the longest recording, so that no timestamp lies in the future)
  --devices LIST    only these devices, as in bidmc-01,bidmc-13 (all)
  --resp-zero HOW   omit or send breathRateValue where RESP is 0, which the dataset's notes call a poor signal (omit)
${FLEET_HELP}`

const CHECKOUT = join(import.meta.dirname, '../../..')
const SHARED_DATA = join(CHECKOUT, '../shared/data/bidmc')
const FIXTURE_DATA = join(CHECKOUT, 'test/fixtures/bidmc')

/** The last instant that `Date` and PostgreSQL both print with four digits of year. */
const START_MAX_S = 253_402_300_799

/**
 * Reads the command line of `replay`.
 * @returns `null` when help was asked for; `devices` is `null` for all, `startS` for the default, `speed` may be `Infinity`
 * @throws `FLEET_USAGE`
 */
export function parseReplayOptions (args: readonly string[]) {
  const values = parseValues(args)
  if (values.help) return null
  const { speed, start } = values
  return {
    ...parseFleetOptions(values),
    speed: speed === 'max' || speed === '0' ? Infinity : parseNumber('speed', speed, { min: 0.001, max: 1e6 }),
    folder: values.data ?? (existsSync(SHARED_DATA) ? SHARED_DATA : FIXTURE_DATA),
    startS: start === undefined ? null : parseNumber('start', start, { min: 0, max: START_MAX_S }),
    devices: values.devices === undefined ? null : values.devices.split(',').map((device) => device.trim()),
    respZero: parseRespZero(values['resp-zero'])
  }
}

function parseValues (args: readonly string[]) {
  try {
    return parseArgsOnce({
      args: [...args],
      options: {
        ...FLEET_ARGUMENTS,
        speed: { type: 'string', default: '1' },
        data: { type: 'string' },
        start: { type: 'string' },
        devices: { type: 'string' },
        'resp-zero': { type: 'string', default: 'omit' }
      }
    }).values
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

function parseRespZero (text: string): RespZero {
  if (text !== 'omit' && text !== 'send') throw new UsageError(`--resp-zero must be omit or send, not "${text}"`)
  return text
}
