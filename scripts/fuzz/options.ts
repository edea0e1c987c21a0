import { join } from 'node:path'
import { root } from '../harness/compile.ts'
import { type Bug, BUGS } from './planted-bugs.ts'
import { type Target, TARGETS } from './sessions/session.ts'
import { parseArgsOnce } from '../command-line/arguments.ts'

export interface FuzzOptions {
  readonly seed: number
  readonly targets: readonly Target[]
  readonly packets: number
  readonly seconds: number
  readonly from: number
  readonly rounds: number
  readonly bug: Bug | undefined
  readonly resultsFile: string | null
  readonly isKeeping: boolean
}

const PACKETS_BY_DEFAULT = 1_000_000
const DAY_S = 86_400

export const USAGE = `npm run fuzz -- [--seed N] [--packets 1000000] [options]

Sends broken and hostile traffic to a gateway of its own, beside well-behaved clients. Exit status 1 when the gateway ends,
leaks, stalls a good client or miscounts. scripts/fuzz/README.md tells what is sent and what is checked.

  --packets N       MQTT packets and HTTP requests to send (default ${PACKETS_BY_DEFAULT}; without end when --seconds is given)
  --seconds S       end after so long, whatever was sent
  --target NAMES    ${TARGETS.join(' | ')}, or several with commas (default: all)
  --seed N          decides every byte, cut and order within a connection (default: drawn, and printed)
  --from N          begin at session N, as a failure's report says
  --rounds N        attacks with a rest between, at which memory and descriptors are looked at (default 10)
  --break NAME      ${Object.keys(BUGS).join(' | ')}:
                    plant a bug that the run must find
  --results FILE    append one JSON line there (default scripts/fuzz/results.jsonl, without --break); none: nowhere
  --keep            leave the run's directory, with the gateway's log, behind
  --help
`

/**
 * @param args - without node and the script
 * @returns `null` when only the usage was asked for
 * @throws Error that names the option at fault
 */
export function parseOptions (args: readonly string[]): FuzzOptions | null {
  const { values } = parseArgsOnce({
    args: [...args],
    options: {
      seed: { type: 'string' },
      packets: { type: 'string' },
      seconds: { type: 'string' },
      target: { type: 'string' },
      from: { type: 'string' },
      rounds: { type: 'string' },
      break: { type: 'string' },
      results: { type: 'string' },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false }
    }
  })
  if (values.help) return null
  const bug = (Object.keys(BUGS) as Bug[]).find((name) => name === values.break)
  if (values.break !== undefined && bug === undefined) throw new Error(`--break must be one of ${Object.keys(BUGS).join(', ')}, not "${values.break}"`)
  const seconds = parseNumber('seconds', values.seconds, 1)
  return {
    seed: parseNumber('seed', values.seed, 0) ?? Math.floor(Math.random() * 2 ** 31),
    targets: values.target === undefined || values.target === 'all' ? TARGETS : values.target.split(',').map(parseTarget),
    packets: parseNumber('packets', values.packets, 1) ?? (seconds === undefined ? PACKETS_BY_DEFAULT : Infinity),
    seconds: seconds ?? DAY_S,
    from: parseNumber('from', values.from, 0) ?? 0,
    rounds: parseNumber('rounds', values.rounds, 1) ?? 10,
    bug,
    resultsFile: values.results === 'none' ? null : values.results ?? (bug === undefined ? join(root, 'scripts', 'fuzz', 'results.jsonl') : null),
    isKeeping: values.keep
  }
}

function parseTarget (name: string): Target {
  const target = TARGETS.find((one) => one === name)
  if (target === undefined) throw new Error(`--target must be of ${TARGETS.join(', ')}, not "${name}"`)
  return target
}

function parseNumber (name: string, text: string | undefined, min: number): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (!Number.isInteger(value) || value < min || value > 2 ** 40) throw new Error(`--${name} must be a whole number of at least ${min}, not "${text}"`)
  return value
}
