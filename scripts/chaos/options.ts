import { join } from 'node:path'
import { Command, Option } from 'commander'
import { usageError } from '../command-line/operator-error.ts'
import { numberOption, parseList } from '../command-line/values.ts'
import { root } from '../harness/compile.ts'
import { FAULTS } from './catalogue.ts'
import { KAFKA_STRIKES } from './cluster/kafka-strikes.ts'
import { REPLICA_STRIKES } from './cluster/replica-strikes.ts'
import type { KafkaOptions } from './cluster/stage.ts'
import type { Strike } from './cluster/strike.ts'
import { STRIKES } from './cluster/strikes.ts'
import type { Fault } from './fault.ts'
import { type Break, BREAKS } from './rig/injection.ts'
import { STREAM_STRIKES } from './streams/stream-strikes.ts'

/** One run of the harness. */
export interface ChaosOptions {
  readonly faults: readonly Fault[]
  readonly isAll: boolean
  /** Several gateways, HAProxy, Redis, PostgreSQL and a replica instead of faults. */
  readonly isCluster: boolean
  /** Of a cluster. */
  readonly strikes: readonly Strike[]
  /** Of a cluster; `null`: gateways write to PostgreSQL. */
  readonly kafka: KafkaOptions | null
  /** With Kafka: lakes, exports and Flink, by where their programs are; `null`: none. */
  readonly streams: { readonly weed: string | null, readonly flinkJars: string | null } | null
  readonly seed: number
  readonly cycles: number | undefined
  /** Of a cluster: fewest readings, over which the strikes are spread. */
  readonly readings: number | undefined
  readonly seconds: number | undefined
  readonly ratePerS: number | undefined
  /** Of the MQTT devices; `undefined`: as the fault says, else 3.1.1. */
  readonly mqttVersion: '3.1.1' | '5' | undefined
  /** Readings that huge-default-partition fills in first. */
  readonly rows: number | undefined
  /** Beside the devices of every fault; `undefined`: as many as the fault says. */
  readonly readers: number | undefined
  readonly breaks: Break | undefined
  readonly resultsFile: string | null
  readonly isBuilding: boolean
  readonly isKeeping: boolean
}

const NOTES = `
Examples:
  npm run chaos -- --fault kill-gateway --cycles 20
  npm run chaos -- --fault all --seed 7
  npm run chaos -- --cluster --cycles 200

scripts/chaos/README.md tells what is checked.
Exit status: 0; 1 for any loss or violated check; 2 for a wrong command line, or when the run broke off.`

interface Values {
  readonly fault?: string
  readonly list?: boolean
  readonly cluster?: boolean
  readonly strike?: string
  readonly kafka?: string
  readonly node: string
  readonly brokers: number
  readonly ackAfter: 'replicas' | 'spool' | 'both'
  readonly streams?: boolean
  readonly weed?: string
  readonly flink?: string
  readonly readings?: number
  readonly cycles?: number
  readonly seconds?: number
  readonly rate?: number
  readonly mqttVersion?: '3.1.1' | '5'
  readonly rows?: number
  readonly readers?: number
  readonly seed?: number
  readonly break?: Break
  readonly results?: string
  /** `false` for --no-build. */
  readonly build: boolean
  readonly keep?: boolean
}

const COUNT_MAX = 2 ** 31
const COUNT = { min: 1, max: COUNT_MAX, isWhole: true }

/** `vital-gateway chaos`, with what it is to do. */
export function createChaosCommand (run: (options: ChaosOptions | 'list') => Promise<void>): Command {
  return new Command('chaos')
    .description('Hurts a gateway of its own under load, and checks that everything acknowledged is stored.')
    .option('--fault <names>', 'faults to run, in that order; all: every one, with few cycles each')
    .option('--list', 'name and describe every fault')
    .option('--cluster', 'instead of a fault: two gateways, HAProxy, Redis, PostgreSQL and a replica, one of them struck in each cycle')
    .option('--strike <names>', 'with --cluster: these alone (default: all, at random)')
    .option('--kafka <jars>', 'with --cluster: Kafka and two sinks between gateways and PostgreSQL, without a replica; the folder of ' +
      'Kafka\'s jars')
    .option('--node <file>', 'with --kafka: the Node.js of gateways and sinks, 22.22, or 24.6 or newer ' +
      '(default: this one)', process.execPath)
    .addOption(numberOption('--brokers <n>', 'with --kafka', { min: 1, max: 5, isWhole: true }).default(3))
    .addOption(new Option('--ack-after <what>', 'with --kafka: VITAL_ACK_AFTER; both: a gateway of each')
      .choices(['replicas', 'spool', 'both']).default('replicas'))
    .option('--streams', 'with --kafka: lakes, exports and Flink beside the sinks, compared with PostgreSQL in the end')
    .option('--weed <file>', 'with --streams: SeaweedFS\'s program, which lakes need')
    .option('--flink <jars>', 'with --streams: the folder of Flink\'s jars')
    .addOption(numberOption('--readings <n>', 'with --cluster: at least as many, in large publishes, with the cycles ' +
      'spread over them', COUNT))
    .addOption(numberOption('--cycles <n>', 'how often a fault that is repeated comes', COUNT))
    .addOption(numberOption('--seconds <s>',
      'how long a lasting fault goes on, or a cluster is struck; with kill-gateway: the longest life', { min: 1, max: COUNT_MAX }))
    .addOption(numberOption('--rate <n>', 'readings a second', { min: 1, max: COUNT_MAX }))
    .addOption(new Option('--mqtt-version <version>', 'of the devices: MQTT 3.1.1 or 5').choices(['3.1.1', '5']))
    .addOption(numberOption('--rows <n>', 'readings in the default partition of huge-default-partition', COUNT))
    .addOption(numberOption('--readers <n>', 'readers of pages beside the devices of every fault', { ...COUNT, min: 0 }))
    .addOption(numberOption('--seed <n>', 'decides every random choice; printed (default: drawn)', { ...COUNT, min: 0 }))
    .addOption(new Option('--break <defect>', 'build in a defect that the checks must find; the run must fail').choices(BREAKS))
    .option('--results <file>', 'append one JSON line there (default: scripts/chaos/results.jsonl, without --break); none: nowhere')
    .option('--no-build', 'take the gateway in dist/ as it is')
    .option('--keep', 'leave the directory of the run, with logs of the gateway, behind')
    .addHelpText('after', NOTES)
    .action(async (values: Values) => { await run(values.list === true ? 'list' : toOptions(values)) })
}

function pick<One extends { readonly name: string }> (option: string, value: string, all: readonly One[]): One[] {
  return parseList(option, value, all.map(({ name }) => name)).map((name) => all.find((one) => one.name === name)!)
}

function toOptions (values: Values): ChaosOptions {
  const { fault, cluster = false, strike, kafka, node, brokers, ackAfter, cycles, seconds, rate, mqttVersion, rows } = values
  const { streams = false, weed, flink, readings } = values
  const { readers, seed, break: breaks, results, build, keep = false } = values
  if (fault === undefined && !cluster) throw usageError('--fault is missing; --list names all')
  if (fault !== undefined && cluster) throw usageError('--cluster takes no --fault')
  if (strike !== undefined && !cluster) throw usageError('--strike wants --cluster')
  if (kafka !== undefined && !cluster) throw usageError('--kafka wants --cluster')
  if (streams && kafka === undefined) throw usageError('--streams wants --kafka')
  if ((weed !== undefined || flink !== undefined) && !streams) throw usageError('--weed and --flink want --streams')
  if (readings !== undefined && !cluster) throw usageError('--readings wants --cluster')
  const strikes = [...STRIKES, ...kafka === undefined ? REPLICA_STRIKES : KAFKA_STRIKES, ...streams ? STREAM_STRIKES : []]
  const isAll = fault === 'all'
  return {
    faults: fault === undefined ? [] : isAll ? FAULTS : pick('fault', fault, FAULTS),
    isAll,
    isCluster: cluster,
    strikes: strike === undefined ? strikes : pick('strike', strike, strikes),
    kafka: kafka === undefined ? null : { jars: kafka, node, brokers, ackAfter },
    streams: streams ? { weed: weed ?? null, flinkJars: flink ?? null } : null,
    seed: seed ?? Math.floor(Math.random() * COUNT_MAX),
    cycles,
    readings,
    seconds,
    ratePerS: rate,
    mqttVersion,
    rows,
    readers,
    breaks,
    resultsFile: results === 'none' ? null : results ?? (breaks === undefined ? join(root, 'scripts', 'chaos', 'results.jsonl') : null),
    isBuilding: build,
    isKeeping: keep
  }
}
