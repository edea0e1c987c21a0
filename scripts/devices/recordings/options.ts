import { join } from 'node:path'
import { Command, Option } from 'commander'
import { PACKAGE_ROOT } from '../../command-line/package-root.ts'
import { usageError } from '../../command-line/operator-error.ts'
import { listOption, numberOption, parseNumber } from '../../command-line/values.ts'
import { addFleetOptions, FLEET_NOTES, type FleetValues, toFleetOptions } from '../fleet/options.ts'
import type { RespZero } from './playback.ts'

const NOTES = `
Examples:
  vital-gateway play --speed 60
  vital-gateway play --loop
  vital-gateway play --devices bidmc-13,bidmc-19 --speed max
  vital-gateway play --data bidmc_csv --devices bidmc-01
  vital-gateway play --url mqtts://gateway.example:8883 --credentials devices.secrets.csv

The same --start gives the same readings, which a gateway counts as duplicates the second time.
With --loop each recording begins again at its end, until Ctrl-C, and a reading has the time at which it is sent.
${FLEET_NOTES}`

/** Three recordings come with the clone and with the package. */
const SHIPPED_DATA = join(PACKAGE_ROOT, 'test/fixtures/bidmc')

/** The last instant that `Date` and PostgreSQL both print with four digits of year. */
const START_MAX_S = 253_402_300_799

/** What a playback is asked for. */
export interface PlayOptions extends ReturnType<typeof toFleetOptions> {
  /** 1 is real time; `Infinity`: as fast as acknowledgements come. */
  readonly speed: number
  /** Plays until it is stopped; then `speed` is finite and `startS` is `null`. */
  readonly isLooping: boolean
  readonly folder: string
  /** Unix seconds; `null`: now less the longest recording. */
  readonly startS: number | null
  /** `null`: all. */
  readonly devices: readonly string[] | null
  readonly respZero: RespZero
}

interface Values extends FleetValues {
  readonly speed: number
  readonly loop?: true
  readonly data?: string
  readonly start?: number
  readonly devices?: readonly string[]
  readonly respZero: RespZero
}

/** `vital-gateway play`, with what it is to do. */
export function createPlayCommand (run: (options: PlayOptions) => Promise<void>): Command {
  const command = new Command('play')
    .description('Plays the BIDMC recordings of bedside monitors into a gateway over MQTT, each file as one device.')
    .addOption(new Option('--speed <n>',
      '1 is real time, 60 plays a minute each second; 0 or max: as fast as acknowledgements come').default(1).argParser(parseSpeed))
    .option('--loop', 'begin again at the end of each recording, with times of now, until stopped')
    .option('--data <dir>', 'folder with bidmc_*_Numerics.csv (default: the excerpt of three recordings that comes along)')
    .addOption(numberOption('--start <seconds>', 'Unix seconds of each recording\'s first sample (default: now less the ' +
      'longest recording)', {
      min: 0, max: START_MAX_S
    }))
    .addOption(listOption('--devices <list>', 'only these, as in bidmc-13,bidmc-19 (default: all)', null))
    .addOption(new Option('--resp-zero <how>',
      'whether breathRateValue is sent where RESP is 0, which the dataset calls a poor signal').choices(['omit', 'send']).default('omit'))
  return addFleetOptions(command).addHelpText('after', NOTES).action(async (values: Values) => {
    checkLoop(values)
    await run({
      ...toFleetOptions(values),
      speed: values.speed,
      isLooping: values.loop === true,
      folder: values.data ?? SHIPPED_DATA,
      startS: values.start ?? null,
      devices: values.devices ?? null,
      respZero: values.respZero
    })
  })
}

function checkLoop ({ loop, speed, start }: Values): void {
  if (loop !== true) return
  if (speed === Infinity) throw usageError('--loop needs a speed: at most 1000000, 1 is real time')
  if (start !== undefined) throw usageError('--loop plays from now on: leave out --start')
}

function parseSpeed (text: string): number {
  return text === 'max' || text === '0' ? Infinity : parseNumber('speed', text, { min: 0.001, max: 1e6 })
}
