import { join } from 'node:path'
import { root } from '../harness/compile.ts'
import { FAULTS } from './faults/catalogue.ts'
import type { Fault } from './faults/fault.ts'
import { type Break, BREAKS } from './rig/injection.ts'
import { parseArgsOnce } from '../command-line/arguments.ts'

/** What one run of the harness does. */
export interface ChaosOptions {
  readonly faults: readonly Fault[]
  readonly isAll: boolean
  readonly seed: number
  readonly cycles: number | undefined
  readonly seconds: number | undefined
  readonly ratePerS: number | undefined
  /** Readings that huge-default-partition fills in first. */
  readonly rows: number | undefined
  /** Beside the devices of every fault; `undefined`: as many as the fault says. */
  readonly readers: number | undefined
  readonly breaks: Break | undefined
  readonly resultsFile: string | null
  readonly isBuilding: boolean
  readonly isKeeping: boolean
}

export const USAGE = `npm run chaos -- --fault NAME[,NAME...] | all [options]

Hurts a gateway of its own under load, and checks that everything acknowledged is stored. Exit status 1 on any loss or
violated check. scripts/README.md tells what is checked.

  --fault NAMES     faults to run, in that order; all: every one, with few cycles each
  --list            what there is
  --cycles N        how often a fault that comes again and again comes
  --seconds S       how long a fault that lasts lasts
  --rate N          readings a second
  --rows N          readings in the default partition of huge-default-partition
  --readers N       readers of pages beside the devices, whatever the fault; they are to be answered 200 or 503, or not at all
  --seed N          decides every random choice (default: drawn, and printed)
  --break NAME      ${BREAKS.join(' | ')}: build the defect in that the checks must find; the run must fail
  --results FILE    append one JSON line there (default scripts/chaos/results.jsonl, without --break); none: nowhere
  --no-build        take the gateway that lies in dist/ as it is
  --keep            leave the run's directory, with the gateway's logs, behind
  --help
`

/**
 * @param args - without node and the script
 * @returns `null` when only the usage was asked for, `list` for the list
 * @throws Error that names the option at fault
 */
export function parseOptions (args: readonly string[]): ChaosOptions | 'list' | null {
  const { values } = parseArgsOnce({
    args: [...args],
    options: {
      fault: { type: 'string' },
      list: { type: 'boolean', default: false },
      cycles: { type: 'string' },
      seconds: { type: 'string' },
      rate: { type: 'string' },
      rows: { type: 'string' },
      readers: { type: 'string' },
      seed: { type: 'string' },
      break: { type: 'string' },
      results: { type: 'string' },
      'no-build': { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false }
    }
  })
  if (values.help) return null
  if (values.list) return 'list'
  if (values.fault === undefined) throw new Error('--fault is missing; --list tells what there is')
  const breaks = BREAKS.find((name) => name === values.break)
  if (values.break !== undefined && breaks === undefined) throw new Error(`--break must be one of ${BREAKS.join(', ')}, not "${values.break}"`)
  const isAll = values.fault === 'all'
  return {
    faults: isAll ? FAULTS : values.fault.split(',').map(findFault),
    isAll,
    seed: parseNumber('seed', values.seed, 0, true) ?? Math.floor(Math.random() * 2 ** 31),
    cycles: parseNumber('cycles', values.cycles, 1, true),
    seconds: parseNumber('seconds', values.seconds, 1, false),
    ratePerS: parseNumber('rate', values.rate, 1, false),
    rows: parseNumber('rows', values.rows, 1, true),
    readers: parseNumber('readers', values.readers, 0, true),
    breaks,
    resultsFile: values.results === 'none' ? null : values.results ?? (breaks === undefined ? join(root, 'scripts', 'chaos', 'results.jsonl') : null),
    isBuilding: !values['no-build'],
    isKeeping: values.keep
  }
}

function findFault (name: string): Fault {
  const fault = FAULTS.find((one) => one.name === name)
  if (fault === undefined) throw new Error(`there is no fault "${name}"; --list tells what there is`)
  return fault
}

function parseNumber (name: string, text: string | undefined, min: number, isWhole: boolean): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (!(value >= min) || value > 2 ** 31 || (isWhole && !Number.isInteger(value))) {
    throw new Error(`--${name} must be a ${isWhole ? 'whole ' : ''}number of at least ${min}, not "${text}"`)
  }
  return value
}
