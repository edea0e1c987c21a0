import { Command, Option } from 'commander'
import { usageError } from '../command-line/operator-error.ts'
import { listOption, numberOption, parseNumber } from '../command-line/values.ts'
import type { KafkaPrograms } from '../harness/kafka-cluster.ts'
import { ATTACKS } from './attacks/attack-kinds.ts'
import {
  AUTH_WORKLOADS, DEFAULT_WORKLOADS, parseWorkloads, SPOOL_WORKLOADS, type StoreName, STORES, toAuthWorkload, toSpoolWorkload, type Workload
} from './workloads.ts'

/** A device's number has seven digits. */
const DEVICES_MAX = 10_000_000

/** One run of the bench. */
export interface BenchOptions {
  readonly store: StoreName
  readonly workloads: readonly Workload[]
  readonly rounds: number
  readonly warmupMs: number
  readonly measureMs: number
  /** Where the gateway's data directories are made; `undefined` is the system's temporary directory. */
  readonly dataDir: string | undefined
  readonly jsonFile: string | undefined
  readonly cpuProf: boolean
  /** Builds the gateway first; without it `dist/` is taken as it is. */
  readonly build: boolean
  /** Measures the generator and the bare servers without the gateway. */
  readonly referenceOnly: boolean
  /** Gives each connection a credential, and compares with a gateway that needs none. */
  readonly auth: boolean
  readonly chartFile: string | undefined
  /** Measures the gateway alone at sizes of its own, instead of the workloads. */
  readonly scale: ScaleOptions | null
  /** Measures the deferred work of averages, instead of the workloads. */
  readonly rollups: boolean
  /** Measures pages of two gateways without and with the copy of the latest states in Redis, instead of the workloads. */
  readonly latestCache: boolean
  /** Measures the copy of the latest states in Redis without a gateway, instead of the workloads. */
  readonly redisAlone: boolean
  /** Measures one to three gateways on one PostgreSQL, instead of the workloads. */
  readonly gateways: boolean
  /** Measures gateways and sinks with Kafka between them, instead of the workloads. */
  readonly kafka: KafkaPrograms | null
  /** Names of the attacks under which the latency of others is measured, instead of the workloads. */
  readonly attacks: readonly string[] | null
  /** A checkout of earlier code to compare with. */
  readonly against: string | null
}

export interface ScaleOptions {
  readonly devices: readonly number[]
  /** Rows of `readings` from the start. */
  readonly history: number
}

const NOTES = `
Examples:
  npm run bench -- --workload 50x20 --rounds 3
  npm run bench -- --against ../before --workload 50x20,arrays --rounds 7
  npm run bench -- --scale devices=1000,100000 --history 1000000

Nothing need be installed or running; everything is stopped and removed at the end, on Ctrl-C too.
Exit status: 0; 1 when it failed, or --against finds a workload worse; 2 for a wrong command line.`

interface Values {
  readonly workload?: string
  readonly store: StoreName
  readonly auth?: boolean
  readonly scale?: string
  readonly history?: number
  readonly rollups?: boolean
  readonly latestCache?: boolean
  readonly redisAlone?: boolean
  readonly gateways?: boolean
  readonly kafka?: string
  readonly node: string
  readonly attacks?: boolean
  readonly attack?: readonly string[]
  readonly against?: string
  readonly rounds: number
  readonly seconds: number
  readonly warmup: number
  readonly dataDir?: string
  readonly json?: string
  readonly chart?: string
  readonly cpuProf?: boolean
  /** `false` for --no-build. */
  readonly build: boolean
  readonly referenceOnly?: boolean
}

function parseScale (text: string | undefined, history: number | undefined): ScaleOptions | null {
  if (text === undefined) {
    if (history !== undefined) throw usageError('--history goes with --scale')
    return null
  }
  const list = /^devices=(\d+(?:,\d+)*)$/.exec(text)?.[1]
  if (list === undefined) throw usageError(`--scale must be devices=N,N,…, not "${text}"`)
  const devices = list.split(',').map((number) => parseNumber('scale', number, { min: 1, max: DEVICES_MAX, isWhole: true }))
  return { devices, history: history ?? 0 }
}

function toWorkloads (list: string | undefined, store: StoreName, auth: boolean): Workload[] {
  if (store === 'spool') return parseWorkloads(list ?? SPOOL_WORKLOADS).map(toSpoolWorkload)
  if (auth) return parseWorkloads(list ?? AUTH_WORKLOADS).map(toAuthWorkload)
  return parseWorkloads(list ?? DEFAULT_WORKLOADS)
}

/** `vital-gateway bench`, with what it is to do. */
export function createBenchCommand (run: (options: BenchOptions) => Promise<void>): Command {
  return new Command('bench')
    .description('Compares the built gateway with a bare Aedes, a bare Fastify and PostgreSQL itself, in interleaved rounds.')
    .option('--workload <list>', `of ${DEFAULT_WORKLOADS}; also any {connections}x{in flight}, open@{rate per second} and ` +
      'get@{readings per second} (default: all of these)')
    .addOption(new Option('--store <store>', 'spool: the gateway with PostgreSQL away, so that the disk spool makes everything ' +
      'durable, beside ' +
      `the gateway with PostgreSQL; default workloads ${SPOOL_WORKLOADS}`).choices(STORES).default('database'))
    .option('--auth', 'the gateway with a credential for each connection, beside the gateway without any; default workloads ' +
      `${AUTH_WORKLOADS}`)
    .option('--scale <sizes>', 'devices=N,N,…: the gateway alone with N devices in latest: rate, CPU, memory, latency, GETs')
    .addOption(numberOption('--history <n>', 'with --scale: readings in the table from the start (about 400 bytes of disk each)', {
      min: 0, isWhole: true
    }))
    .option('--rollups', 'CPU of PostgreSQL and of the gateway for closing the averages of a million readings')
    .option('--latest-cache', 'pages of 100,000 devices at two gateways, without and with VITAL_LATEST_CACHE=redis, and what that costs')
    .option('--redis-alone', 'rows and pages of that copy in Redis, without a gateway and PostgreSQL on the same cores')
    .option('--gateways', 'CPU for a million readings of one to three gateways on one PostgreSQL, without and with REDIS_URL')
    .option('--kafka <jars>', 'CPU, memory and disk of gateways, brokers and sinks with Kafka between them; the folder of Kafka\'s jars')
    .option('--node <file>', 'with --kafka: the Node.js of gateways and sinks, 22.22, or 24.6 or newer ' +
      '(default: this one)', process.execPath)
    .option('--attacks', 'p99 of acknowledgements of well-behaved devices under each attack, beside the same without it')
    .addOption(listOption('--attack <list>', `only these: ${Object.keys(ATTACKS).join(', ')}`, Object.keys(ATTACKS)))
    .option('--against <dir>', 'this gateway, the same again, and that of the checkout in DIR (npm ci done there): CPU for a ' +
      'million readings, ' +
      'at least 7 rounds')
    .addOption(numberOption('--rounds <n>', 'rounds of each target', { min: 1, isWhole: true }).default(5))
    .addOption(numberOption('--seconds <s>', 'measured in each round', { min: 0.5 }).default(5))
    .addOption(numberOption('--warmup <s>', 'before it', { min: 0 }).default(2))
    .option('--data-dir <dir>', 'make the gateway\'s data directories there: the disk matters (default: the temporary directory)')
    .option('--json <file>', 'write every round there too')
    .option('--chart <file>', 'an SVG of ratios, rates and latencies')
    .option('--cpu-prof', 'write CPU profiles of the gateway below bench-results/ (slows it)')
    .option('--no-build', 'take the gateway in dist/ as it is')
    .option('--reference-only', 'leave the gateway out, and measure the generator and the bare servers alone')
    .addHelpText('after', NOTES)
    .action(async (values: Values) => { await run(toOptions(values)) })
}

function toOptions (values: Values): BenchOptions {
  const { store, auth = false, referenceOnly = false, against = null } = values
  const { rollups = false, latestCache = false, redisAlone = false, gateways = false } = values
  const kafka = values.kafka === undefined ? null : { jars: values.kafka, node: values.node }
  if (store === 'spool' && referenceOnly) throw usageError('--reference-only does not go with --store spool, where both are the gateway')
  const scale = parseScale(values.scale, values.history)
  const attacks = values.attack ?? (values.attacks === true ? Object.keys(ATTACKS) : null)
  const special = [
    store === 'spool' && '--store spool', auth && '--auth', scale !== null && '--scale', attacks !== null && '--attacks',
    rollups && '--rollups', latestCache && '--latest-cache', redisAlone && '--redis-alone', gateways && '--gateways',
    kafka !== null && '--kafka', against !== null && '--against'
  ].filter((name) => name !== false)
  if (special.length > 1) throw usageError(`${special.join(' and ')} do not go together`)
  if (auth && referenceOnly) throw usageError('--reference-only does not go with --auth, where both are the gateway')
  return {
    store,
    workloads: toWorkloads(values.workload, store, auth),
    auth,
    chartFile: values.chart,
    scale,
    rollups,
    latestCache,
    redisAlone,
    gateways,
    kafka,
    attacks,
    against,
    rounds: values.rounds,
    warmupMs: values.warmup * 1000,
    measureMs: values.seconds * 1000,
    dataDir: values.dataDir,
    jsonFile: values.json,
    cpuProf: values.cpuProf === true,
    build: values.build,
    referenceOnly
  }
}
