import { setTimeout as sleep } from 'node:timers/promises'
import { checkMetrics, type Rows, type Scrape, scrape } from '../../harness/checks/metrics.ts'
import type { Violation } from '../../harness/checks/stored.ts'
import { countNew, countRows } from '../../harness/checks/tables.ts'
import type { Belongings } from '../../harness/belongings.ts'
import { DEFAULT_LOAD, type Load } from '../../harness/devices/messages.ts'
import { PublisherProcess } from '../../harness/devices/publisher-process.ts'
import { Random } from '../../harness/random.ts'
import { until } from '../../harness/until.ts'
import { createWard, type Ward } from '../devices/ward.ts'
import type { Outcome } from '../outcome.ts'
import type { Program } from '../rig/build.ts'
import type { Break } from '../rig/injection.ts'
import type { StreamsOptions } from '../streams/engines.ts'
import { judgeStreams } from '../streams/judge-streams.ts'
import { ARRIVE_TIMEOUT_MS, createAccounts } from './accounts.ts'
import { createReplicaReaders, type ReplicaReaders } from './replica-readers.ts'
import { REPLICA_STRIKES } from './replica-strikes.ts'
import { createStage, type KafkaOptions, type Stage } from './stage.ts'
import { drawStrike, type Strike } from './strike.ts'

export interface ClusterRunOptions {
  readonly belongings: Belongings
  readonly program: Program
  readonly dir: string
  readonly seed: number
  /** Strikes. */
  readonly cycles: number
  readonly strikes: readonly Strike[]
  /** `null`: gateways write to PostgreSQL. */
  readonly kafka: KafkaOptions | null
  /** With Kafka: lakes, exports and Flink; `null`: none. */
  readonly streams: StreamsOptions | null
  /** Fewest readings to send, over which the strikes are spread; `undefined`: as many as are sent meanwhile. */
  readonly readings: number | undefined
  /** After this time no further strike begins; `undefined`: all are done. */
  readonly seconds: number | undefined
  readonly load: Partial<Load>
  readonly breaks: Break | undefined
  readonly onCycle: (done: number) => void
  readonly onRemark: (remark: string) => void
}

/** Strikes between two checks. */
const STRIKES_PER_ACCOUNT = 10
const LOAD: Load = { ...DEFAULT_LOAD, devices: 40, httpDevices: 4, ratePerS: 400, waveformShare: 0 }
/** Time for sinks to store what is in Kafka; the longer one after many readings. */
const SETTLE_MS = 90_000
const LONG_SETTLE_MS = 600_000
/** Readings in each publish, where `readings` is given. */
const ARRAY_READINGS = 20
/** Longest that a strike waits for its turn among the readings. */
const TURN_TIMEOUT_MS = 1_800_000
const SUBSCRIBERS = 12
const WILL_CLIENTS = 6
/** Three publishers with two topics each. */
const TOPICS = Array.from({ length: 3 }, (_, index) => [`ward/0/bed-${index}`, `ward/1/bed-${index}`])
/** Subscribers and their publishers, readers, HAProxy's health checks, Redis. */
const OTHER_CONNECTIONS = 60
const CALM_MS = 3000

/** Strikes a cluster again and again, one process at a time, and accounts for readings and persistent sessions. */
export async function runCluster (options: ClusterRunOptions): Promise<Outcome> {
  const random = new Random(options.seed)
  const between = (min: number, max: number) => random.between(min, max)
  const publisher = new PublisherProcess(options.belongings, options.program.publisher)
  const load = { ...LOAD, ...options.readings !== undefined && { arrayReadings: ARRAY_READINGS }, ...options.load }
  const settleMs = options.readings === undefined ? SETTLE_MS : LONG_SETTLE_MS
  const accounts = createAccounts({ ...options, publisher, load, settleMs })
  const { violations, sums, figures, violate } = accounts
  const stage = await createStage({
    ...options,
    random,
    connections: load.devices + load.httpDevices + OTHER_CONNECTIONS,
    onViolation: (violation) => violations.push(violation),
    onRecovered: (ms) => { sums.recoveryMs = Math.max(sums.recoveryMs, ms) }
  })
  const processes = () => [...stage.gateways, ...stage.sinks, ...stage.streams?.lakes ?? [], ...stage.streams?.exports ?? []]
  const outage = { isUnderWay: false, isStop: false }
  const calm = { sinceMs: 0 }
  const readers = stage.replica === null
    ? null
    : createReplicaReaders({ stage, calmSinceMs: () => calm.sinceMs, random: new Random(options.seed + 1) })
  const ward = createWard({
    port: () => stage.mqttPort,
    // Streams are about readings; sessions have runs of their own.
    subscribers: options.streams === null ? SUBSCRIBERS : 0,
    topics: options.streams === null ? TOPICS : [],
    willClients: options.streams === null ? WILL_CLIENTS : 0,
    publishIntervalMs: 100,
    isClustered: true,
    mayLoseSessions: () => outage.isUnderWay,
    mayDropWills: () => outage.isStop,
    random: between,
    onViolation: (message) => { violate('expected', message) }
  })
  const progress = { done: 0 }
  try {
    const fault = await stage.untilWhole()
    if (fault !== null) throw new Error(fault)
    ward.connect()
    if (await until(() => ward.isSubscribed, ARRIVE_TIMEOUT_MS) === null) throw new Error('not all subscribers were accepted')
    await strikeAll({ ...options, stage, ward, accounts, outage, calm, readers, between, publisher, progress })
    await accountForRows({ stage, accounts, ward, readers })
    if (stage.streams !== null) await judgeStreams({ ...options, stage, streams: stage.streams, violate, figures })
    await stage.stop()
  } catch (error) {
    violate('C6', `the run broke off: ${error instanceof Error ? error.stack ?? error.message : String(error)}`)
  } finally {
    ward.end()
    publisher.kill()
    for (const { watch } of processes()) watch.stop()
  }
  Object.assign(figures, readers?.figures(), {
    sessionMessages: ward.published,
    wills: ward.wills,
    sessionsLostWithoutRedis: ward.lost,
    repeatedAtQoS1: ward.repeated,
    sessionViolations: ward.violations
  })
  return {
    fault: options.kafka === null ? 'cluster' : options.streams === null ? 'cluster-kafka' : 'cluster-streams',
    cycles: progress.done,
    ...sums,
    peakRssBytes: Math.max(...processes().map(({ watch }) => watch.peakRssBytes)),
    figures: { ...figures, lives: processes().map(({ lives }) => lives).join(' + ') },
    verdicts: [],
    violations
  }
}

interface AllStrikesOptions extends StrikeOptions, Pick<ClusterRunOptions, 'cycles' | 'readings' | 'seconds' | 'onCycle'> {
  readonly readers: ReplicaReaders | null
  readonly publisher: PublisherProcess
  readonly progress: { done: number }
}

/** Runs all strikes, with an account after every {@link STRIKES_PER_ACCOUNT} of them. */
async function strikeAll (options: AllStrikesOptions): Promise<void> {
  const { stage, ward, accounts, readers, publisher, progress, cycles, readings, seconds = Infinity, onCycle } = options
  const endMs = performance.now() + seconds * 1000
  const isOver = () => performance.now() > endMs
  while (progress.done < cycles && !isOver()) {
    const first = progress.done
    /** Waits until the readings that belong to the cycles so far were sent in this account. */
    const takeTurn = async () => {
      if (readings === undefined) return
      const due = readings / cycles * (progress.done - first)
      const { sent } = await publisher.waitUntil((figures) => figures.sent >= due, TURN_TIMEOUT_MS)
      if (sent < due) throw new Error(`only ${sent} of ${due} readings were sent in ${TURN_TIMEOUT_MS} ms`)
    }
    const strikeSome = async () => {
      while (progress.done < Math.min(cycles, first + STRIKES_PER_ACCOUNT) && !isOver()) {
        await takeTurn()
        await strike(options)
        onCycle(++progress.done)
      }
      await takeTurn()
    }
    await accounts.keep(stage, ward, () => readers === null ? strikeSome() : readers.beside(strikeSome))
  }
}

/** Lets time pass without strikes, and compares what the writers counted with the rows that PostgreSQL got. */
async function accountForRows (
  { stage, accounts, ward, readers }: Pick<AllStrikesOptions, 'stage' | 'accounts' | 'ward' | 'readers'>
): Promise<void> {
  const writers = stage.sinks.length > 0 ? stage.sinks : stage.gateways
  const scrapes = () => Promise.all(writers.map(({ options: { httpPort } }) => scrape(httpPort)))
  const [seenBefore, rowsBefore] = [await scrapes(), await countRows(stage.query)]
  const rest = () => sleep(CALM_MS)
  await accounts.keep(stage, ward, () => readers === null ? rest() : readers.besideCalm(rest))
  accounts.violations.push(...checkTogether(seenBefore, await scrapes(), await countNew(stage.query, rowsBefore)))
}

interface StrikeOptions extends Pick<ClusterRunOptions, 'strikes' | 'onRemark'> {
  readonly stage: Stage
  readonly ward: Ward
  readonly accounts: ReturnType<typeof createAccounts>
  /** Whether an outage of Redis is under way, and whether a gateway stops after SIGTERM. */
  readonly outage: { isUnderWay: boolean, isStop: boolean }
  /** `performance.now()` since when nothing but the replica was struck. */
  readonly calm: { sinceMs: number }
  readonly between: (min: number, max: number) => number
}

/** One strike, until all parts serve again; then some subscribers are cut off, and come back. */
async function strike ({ strikes, stage, ward, accounts, outage, calm, between, onRemark }: StrikeOptions): Promise<void> {
  const { violations, violate, count } = accounts
  const { name, run } = drawStrike(between(0, 1), strikes)
  const isOfReplica = REPLICA_STRIKES.some((one) => one.name === name)
  const before = violations.length
  count(name, 1)
  await sleep(between(100, 1500))
  onRemark(`${name} at ${new Date().toISOString().slice(11, 23)}`)
  outage.isUnderWay = name.endsWith('-redis')
  outage.isStop = name === 'stop-gateway'
  if (!isOfReplica) calm.sinceMs = Infinity
  await run(stage)
  const fault = await stage.untilWhole()
  outage.isUnderWay = false
  outage.isStop = false
  if (!isOfReplica) calm.sinceMs = performance.now()
  if (fault !== null) violate('C6', `after ${name}: ${fault}`)
  // Redis is there, so a session that goes to another gateway is found.
  for (let cuts = 0; cuts < 3; cuts++) {
    ward.cut()
    await sleep(between(50, 300))
  }
  for (const { checker, message } of violations.slice(before)) onRemark(`after ${name}: ${checker} ${message}`)
}

/** C7 over all gateways: compares what they counted in a time without strikes with the rows that came in it. */
function checkTogether (before: readonly Scrape[], after: readonly Scrape[], added: Rows): Violation[] {
  const sum = (scrapes: readonly Scrape[], name: keyof Scrape) => scrapes.reduce((all, one) => all + Number(one[name]), 0)
  const since = (name: keyof Scrape) => sum(after, name) - sum(before, name)
  return checkMetrics({
    ...after[0]!,
    received: since('received'),
    found: since('found'),
    stored: since('stored'),
    duplicate: since('duplicate'),
    deadLettered: since('deadLettered'),
    balance: sum(after, 'balance')
  }, added)
}
