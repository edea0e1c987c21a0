import { join } from 'node:path'
import { Command, Option } from 'commander'
import { numberOption, parseList } from '../command-line/values.ts'
import { root } from '../harness/compile.ts'
import { type Bug, BUGS } from './planted-bugs.ts'
import { type Target, TARGETS } from './sessions/session.ts'

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

const NOTES = `
Examples:
  npm run fuzz -- --seed 7 --packets 1000000
  npm run fuzz -- --target mqtt,ws --seconds 60

scripts/fuzz/README.md tells what is sent and what is checked.
Exit status: 0; 1 when the gateway ends, leaks, stalls a good client or miscounts; 2 for a wrong command line, or when
the run broke off.`

interface Values {
  readonly packets?: number
  readonly seconds?: number
  readonly target: string
  readonly seed?: number
  readonly from: number
  readonly rounds: number
  readonly break?: Bug
  readonly results?: string
  readonly keep?: boolean
}

const COUNT = { min: 1, max: 2 ** 40, isWhole: true }

/** `vital-gateway fuzz`, with what it is to do. */
export function createFuzzCommand (run: (options: FuzzOptions) => Promise<void>): Command {
  return new Command('fuzz')
    .description('Sends broken and hostile traffic to a gateway of its own, beside well-behaved clients.')
    .addOption(numberOption('--packets <n>',
      `MQTT packets and HTTP requests to send (default: ${PACKETS_BY_DEFAULT}; without end when --seconds is given)`, COUNT))
    .addOption(numberOption('--seconds <s>', 'end after this time, whatever was sent', COUNT))
    .option('--target <names>', `of ${TARGETS.join(', ')}, separated by commas`, 'all')
    .addOption(numberOption('--seed <n>', 'decides every byte, cut and order within a connection; printed (default: drawn)', {
      ...COUNT, min: 0
    }))
    .addOption(numberOption('--from <n>', 'begin at session N, as the report of a failure says', { ...COUNT, min: 0 }).default(0))
    .addOption(numberOption('--rounds <n>', 'attacks with a rest between, at which memory and descriptors are read', COUNT).default(10))
    .addOption(new Option('--break <bug>', 'plant a bug that the run must find').choices(Object.keys(BUGS)))
    .option('--results <file>', 'append one JSON line there (default: scripts/fuzz/results.jsonl, without --break); none: nowhere')
    .option('--keep', 'leave the directory of the run, with the log of the gateway, behind')
    .addHelpText('after', NOTES)
    .action(async (values: Values) => { await run(toOptions(values)) })
}

function toOptions ({ packets, seconds, target, seed, from, rounds, break: bug, results, keep = false }: Values): FuzzOptions {
  return {
    seed: seed ?? Math.floor(Math.random() * 2 ** 31),
    targets: target === 'all' ? TARGETS : parseList('target', target, TARGETS),
    packets: packets ?? (seconds === undefined ? PACKETS_BY_DEFAULT : Infinity),
    seconds: seconds ?? DAY_S,
    from,
    rounds,
    bug,
    resultsFile: results === 'none' ? null : results ?? (bug === undefined ? join(root, 'scripts', 'fuzz', 'results.jsonl') : null),
    isKeeping: keep
  }
}
