import { mkdirSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { sumMetric } from '../command-line/prometheus-text.ts'
import { root } from '../harness/compile.ts'
import type { Engine } from '../harness/engine.ts'
import { createKafka, findKafkaObstacle, type KafkaPrograms } from '../harness/kafka-cluster.ts'
import { readPeakRssBytes, readTreeCpuS } from '../harness/process-stat.ts'
import { toSpread } from '../harness/statistics.ts'
import { until } from '../harness/until.ts'
import type { LoadSettings } from './load/messages.ts'
import type { BenchOptions } from './options.ts'
import { type Round, runRound, untilQuiet } from './round.ts'
import { countBatches, readMetrics } from './sides/metrics.ts'
import type { Supervisor } from './sides/supervisor.ts'
import { type DatabaseGateway, startGateway, startSecondGateway, startSink, type Target } from './sides/targets.ts'

export const BROKERS = 3
/** To all gateways together. */
export const RATE_PER_S = 5000
const SHAPE = { traffic: 'open', protocol: 'mqtt', qos: 1, connections: 200, inFlight: 32, readingsPerAnswer: 1, devices: 0 } as const
/** New readings while a backlog is stored. */
export const NEW_RATE_PER_S = 2000
const BACKLOG_SHAPE = { ...SHAPE, traffic: 'closed', connections: 50, inFlight: 4, readingsPerAnswer: 50, ratePerS: 0 } as const
const STORED_TIMEOUT_MS = 120_000
const DRAIN_TIMEOUT_MS = 300_000
const DRAIN_POLL_MS = 100
/** The share of a backlog that is measured: a sink's beginning and end are not like the rest. */
const DRAIN_FROM = 0.1
const DRAIN_TO = 0.9

/** The set-ups that are compared. */
const SET_UPS = [
  { journal: 'postgres', gateways: 1, sinks: 0 },
  // Kafka alone, as if sinks and PostgreSQL had machines of their own. A sink stores afterwards what was written.
  { journal: 'kafka', gateways: 1, sinks: 0 },
  { journal: 'kafka', gateways: 1, sinks: 1 },
  { journal: 'kafka', gateways: 2, sinks: 1 },
  { journal: 'kafka', gateways: 2, sinks: 2 },
  { journal: 'kafka', gateways: 3, sinks: 2 }
] as const
type SetUp = typeof SET_UPS[number]

export function toSetUpName ({ journal, gateways, sinks }: SetUp): string {
  if (journal === 'kafka' && sinks === 0) return `${gateways}, no sink`
  return sinks === 0 ? `${gateways}, into PostgreSQL` : `${gateways}, ${sinks} sink${sinks > 1 ? 's' : ''}`
}

/** CPU seconds a million readings of each part, all processes of a kind together. */
interface PartsCpu {
  readonly gateways: number
  readonly brokers: number
  readonly sinks: number
  readonly database: number
}

export interface KafkaRound {
  readonly cpu: PartsCpu
  readonly batch: number
  /** Milliseconds until acknowledgements: of the median gateway, and of the worst. */
  readonly p50: number
  readonly p99: number
}

interface Drain {
  readonly sinks: number
  /** Readings in Kafka alone, and how fast the gateway had brought them there. */
  readonly backlog: number
  readonly writtenPerS: number
  /** Readings a second that all sinks stored, between a tenth and nine tenths of the backlog. */
  readonly storedPerS: number
  /** CPU seconds a million readings meanwhile. */
  readonly sinkCpu: number
  readonly databaseCpu: number
  /** Milliseconds until acknowledgements of the readings that arrived meanwhile. */
  readonly p99: number
}

/** Bytes of one reading on disk, and the most that one process of each part had resident. */
interface Sizes {
  readonly brokerBytes: number
  readonly tableBytes: number
  readonly walBytes: number
  readonly gatewayRss: number
  readonly brokerRss: number
  readonly sinkRss: number
}

export interface KafkaOutcome {
  readonly setUps: ReadonlyArray<{ readonly setUp: SetUp, readonly rounds: readonly KafkaRound[] }>
  readonly drains: readonly Drain[]
  readonly sizes: Sizes
}

interface KafkaRun {
  readonly supervisor: Supervisor
  readonly options: BenchOptions
  readonly programs: KafkaPrograms
  readonly say: (line: string) => void
}

/** The parts that run from beginning to end. `host` has the PostgreSQL, and no clients. */
interface Site {
  readonly host: DatabaseGateway
  readonly brokers: readonly Engine[]
  readonly logDirs: readonly string[]
  readonly startGateway: (number: number, journal: 'kafka' | 'postgres') => Promise<Target>
  readonly startSink: (number: number) => Promise<Target>
}

/** Measures gateways, three brokers of Kafka and sinks on one machine. @throws what is missing for it */
export async function runKafka ({ supervisor, options, programs, say }: KafkaRun): Promise<KafkaOutcome> {
  const obstacle = findKafkaObstacle(programs)
  if (obstacle !== null) throw new Error(obstacle)
  const dir = supervisor.createDir(options.dataDir)
  const site = await startSite(supervisor, dir, options, programs)
  const before = await readDisk(site)
  const peaks = { gateways: 0, sinks: 0 }
  const setUps: Array<{ setUp: SetUp, rounds: KafkaRound[] }> = []
  const drains: Drain[] = []
  let logged = 0
  let stored = 0
  const notePeaks = (gateways: readonly Target[], sinks: readonly Target[]) => {
    for (const { pid } of gateways) peaks.gateways = Math.max(peaks.gateways, readPeakRssBytes(pid) ?? NaN)
    for (const { pid } of sinks) peaks.sinks = Math.max(peaks.sinks, readPeakRssBytes(pid) ?? NaN)
  }
  for (const setUp of SET_UPS) {
    const gateways: Target[] = []
    const sinks: Target[] = []
    for (let number = 1; number <= setUp.gateways; number++) {
      gateways.push(await site.startGateway(number, setUp.journal))
    }
    for (let number = 1; number <= setUp.sinks; number++) sinks.push(await site.startSink(number))
    const rounds: KafkaRound[] = []
    const { rows } = await site.host.stored()
    let sentHere = 0
    for (let round = 0; round < options.rounds; round++) {
      await untilQuiet([...gateways, ...sinks, site.host])
      const prefix = `bench-${setUps.length}-${round}`
      const { sent, ...measured } = await measure({ supervisor, site, setUp, gateways, sinks, options, prefix })
      rounds.push(measured)
      sentHere += sent
      say(`${toSetUpName(setUp)}  round ${round + 1}  p50 ${measured.p50.toFixed(1)}  p99 ${measured.p99.toFixed(1)}  ` +
        Object.entries(measured.cpu).map(([part, cpu]) => `${part} ${cpu.toFixed(1)}`).join('  '))
    }
    if (setUp.journal === 'kafka' && sinks.length === 0) sinks.push(await site.startSink(1))
    await untilStored(site, rows + sentHere)
    stored += sentHere
    if (setUp.journal === 'kafka') logged += sentHere
    notePeaks(gateways, sinks)
    for (const process of [...gateways, ...sinks]) await process.stop()
    setUps.push({ setUp, rounds })
  }
  for (const count of [1, 2]) {
    const { drain, sent, gateways, sinks } = await measureDrain({ supervisor, site, sinks: count, options })
    drains.push(drain)
    stored += sent
    logged += sent
    say(`${count} sinks drained ${drain.backlog} readings at ${drain.storedPerS.toFixed(0)}/s`)
    notePeaks(gateways, sinks)
    for (const process of [...gateways, ...sinks]) await process.stop()
  }
  const after = await readDisk(site)
  const brokerRss = Math.max(...site.brokers.map(({ pid }) => pid === null ? NaN : readPeakRssBytes(pid) ?? NaN))
  for (const broker of site.brokers) await broker.kill()
  await site.host.stop()
  supervisor.removeDir(dir)
  return {
    setUps,
    drains,
    sizes: {
      brokerBytes: (after.log - before.log) / BROKERS / logged,
      tableBytes: (after.tables - before.tables) / stored,
      walBytes: (after.wal - before.wal) / stored,
      gatewayRss: peaks.gateways,
      brokerRss,
      sinkRss: peaks.sinks
    }
  }
}

async function startSite (supervisor: Supervisor, dir: string, { dataDir }: BenchOptions, programs: KafkaPrograms): Promise<Site> {
  const host = await startGateway(supervisor, { name: 'host', parentDir: dataDir, profileDir: undefined })
  const kafkaDir = join(dir, 'kafka')
  mkdirSync(kafkaDir)
  const commandLine = join(root, 'dist/scripts/vital-gateway.js')
  const { brokers, env } = await createKafka({
    ...programs, brokers: BROKERS, belongings: supervisor, dir: kafkaDir, commandLine, disks: null
  })
  const own = { parentDir: dataDir, profileDir: undefined, node: programs.node }
  return {
    host,
    brokers,
    logDirs: brokers.map((_, index) => join(kafkaDir, `broker-${index + 1}`, 'data')),
    startGateway: async (number, journal) => await startSecondGateway(supervisor, {
      ...own, name: `gateway ${number}`, environment: journal === 'kafka' ? { ...env, VITAL_JOURNAL: 'kafka' } : {}
    }, host),
    startSink: async (number) => await startSink(supervisor, { ...own, name: `sink ${number}`, environment: env }, host)
  }
}

interface MeasureOptions {
  readonly supervisor: Supervisor
  readonly site: Site
  readonly setUp: SetUp
  readonly gateways: readonly Target[]
  readonly sinks: readonly Target[]
  readonly options: BenchOptions
  readonly prefix: string
}

async function measure (
  { supervisor, site, setUp: { journal }, gateways, sinks, options: { warmupMs, measureMs }, prefix }: MeasureOptions
): Promise<KafkaRound & { readonly sent: number }> {
  const [stored, batches, cpu] = [await site.host.stored(), await countBatches(gateways), readCpu(site, sinks)]
  const rounds = await Promise.all(gateways.map((target, index) => runRound(supervisor, target, {
    ...SHAPE,
    port: target.ports.mqtt,
    ratePerS: RATE_PER_S / gateways.length,
    warmupMs,
    measureMs,
    devicePrefix: `${prefix}-${index}`,
    secrets: null
  })))
  const sum = (pick: (round: Round) => number) => rounds.reduce((all, round) => all + pick(round), 0)
  const sent = sum(({ report }) => report?.readingsSent ?? 0)
  if (journal === 'postgres' || sinks.length > 0) await untilStored(site, stored.rows + sent)
  const [batchesAfter, cpuAfter] = [await countBatches(gateways), readCpu(site, sinks)]
  const measured = sum(({ report }) => report?.readingsMeasured ?? 0)
  const perMillion = (part: keyof typeof cpu) => (cpuAfter[part] - cpu[part]) / sent * 1e6
  return {
    sent,
    cpu: {
      gateways: sum(({ cpu, report }) => (cpu?.server ?? NaN) * (report?.readingsMeasured ?? NaN)) / measured,
      // Without Kafka the brokers are idle, and do not count.
      brokers: journal === 'postgres' ? 0 : perMillion('brokers'),
      sinks: perMillion('sinks'),
      database: perMillion('database')
    },
    batch: (batchesAfter.readings - batches.readings) / (batchesAfter.batches - batches.batches),
    p50: toSpread(rounds.map(({ metrics }) => metrics['p50'] ?? NaN)).median,
    p99: Math.max(...rounds.map(({ metrics }) => metrics['p99'] ?? NaN))
  }
}

interface DrainOptions {
  readonly supervisor: Supervisor
  readonly site: Site
  readonly sinks: number
  readonly options: BenchOptions
}

/** Readings come into Kafka while no sink runs; then sinks start, and new readings arrive beside them. */
async function measureDrain ({ supervisor, site, sinks: count, options: { warmupMs, measureMs } }: DrainOptions) {
  const gateway = await site.startGateway(1, 'kafka')
  const before = await site.host.stored()
  const toSettings = (shape: typeof BACKLOG_SHAPE | typeof SHAPE & { ratePerS: number }, devicePrefix: string): LoadSettings =>
    ({ ...shape, port: gateway.ports.mqtt, warmupMs, measureMs, devicePrefix: `drain-${count}-${devicePrefix}`, secrets: null })
  const written = await runRound(supervisor, gateway, { ...toSettings(BACKLOG_SHAPE, 'old'), warmupMs, measureMs: 2 * measureMs })
  const backlog = written.report?.readingsSent ?? 0
  const arriving = runRound(supervisor, gateway, toSettings({ ...SHAPE, ratePerS: NEW_RATE_PER_S }, 'new'))
  arriving.catch(() => {})
  const sinks: Target[] = []
  for (let number = 1; number <= count; number++) sinks.push(await site.startSink(number))
  const from = await untilSinksStored(sinks, site, backlog * DRAIN_FROM)
  const to = await untilSinksStored(sinks, site, backlog * DRAIN_TO)
  const arrived = await arriving
  const sent = backlog + (arrived.report?.readingsSent ?? 0)
  await untilStored(site, before.rows + sent)
  const stored = to.readings - from.readings
  return {
    gateways: [gateway],
    sinks,
    sent,
    drain: {
      sinks: count,
      backlog,
      writtenPerS: written.metrics['rate'] ?? NaN,
      storedPerS: stored / (to.atMs - from.atMs) * 1000,
      sinkCpu: (to.cpu.sinks - from.cpu.sinks) / stored * 1e6,
      databaseCpu: (to.cpu.database - from.cpu.database) / stored * 1e6,
      p99: arrived.metrics['p99'] ?? NaN
    } satisfies Drain
  }
}

async function untilSinksStored (sinks: readonly Target[], site: Site, least: number) {
  const deadlineMs = performance.now() + DRAIN_TIMEOUT_MS
  for (;;) {
    const texts = await Promise.all(sinks.map(readMetrics))
    const readings = texts.reduce((sum, text) => sum + sumMetric(text, 'vital_readings_stored_total'), 0)
    if (readings >= least) return { readings, atMs: performance.now(), cpu: readCpu(site, sinks) }
    if (performance.now() > deadlineMs) throw new Error(`the sinks stored ${readings} readings of a backlog in ${DRAIN_TIMEOUT_MS} ms`)
    await sleep(DRAIN_POLL_MS)
  }
}

/** Settles once as many rows are stored as were acknowledged, and no more. */
async function untilStored ({ host }: Site, rows: number): Promise<void> {
  if (await until(async () => (await host.stored()).rows >= rows, STORED_TIMEOUT_MS) === null || (await host.stored()).rows !== rows) {
    throw new Error(`${rows} readings were acknowledged and ${(await host.stored()).rows} are ${host.place}`)
  }
}

function readCpu ({ host, brokers }: Site, sinks: readonly Target[]) {
  const read = (pid: number | null) => pid === null ? 0 : readTreeCpuS(pid) ?? NaN
  const sum = (pids: ReadonlyArray<number | null>) => pids.reduce<number>((all, pid) => all + read(pid), 0)
  return {
    brokers: sum(brokers.map(({ pid }) => pid)),
    sinks: sum(sinks.map(({ pid }) => pid)),
    database: host.cpu()?.database ?? NaN
  }
}

async function readDisk ({ host, logDirs }: Site): Promise<{ log: number, tables: number, wal: number }> {
  const { rows: [row] } = await host.database.query<{ tables: string, wal: string }>(
    'select pg_database_size(current_database()) as tables, pg_wal_lsn_diff(pg_current_wal_lsn(), \'0/0\') as wal')
  return { log: logDirs.reduce((sum, dir) => sum + countLogBytes(dir), 0), tables: Number(row?.tables), wal: Number(row?.wal) }
}

/** Bytes of the segments of the topic of readings: an index is a sparse file of its final size. */
function countLogBytes (dir: string): number {
  return readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .filter((name) => /vital\.readings-\d+\/\d+\.log$/.test(name))
    .reduce((sum, name) => sum + statSync(join(dir, name)).size, 0)
}
