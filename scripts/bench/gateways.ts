import { connectAsync, type MqttClient } from 'mqtt'
import { findFreePort } from '../../db/embedded/cluster.ts'
import { readTreeCpuS } from '../harness/process-stat.ts'
import { toSpread } from '../harness/statistics.ts'
import { until } from '../harness/until.ts'
import type { LoadSettings } from './load/messages.ts'
import type { BenchOptions } from './options.ts'
import { layOut } from './report/report.ts'
import { type Round, runRound, untilQuiet } from './round.ts'
import { countBatches } from './sides/metrics.ts'
import type { Supervisor } from './sides/supervisor.ts'
import { type DatabaseGateway, startGateway, startSecondGateway, type Target } from './sides/targets.ts'

/** For each gateway. On a machine that is full, batches wait and grow. */
const RATE_PER_S = 4000
/** Leaves room on two cores for three gateways, so their batches are of one size; one session takes this much, too. */
const LOW_RATE_PER_S = 1000
const SHAPE = { traffic: 'open', protocol: 'mqtt', qos: 1, connections: 200, inFlight: 32, readingsPerAnswer: 1, devices: 0 } as const
const STORED_TIMEOUT_MS = 30_000
const ARRIVE_TIMEOUT_MS = 30_000

const SHARED = { ratePerS: RATE_PER_S, hasRedis: true, isWatched: false } as const

/** The set-ups that are compared. `isWatched`: a session at the last gateway has subscribed to all readings. */
const SET_UPS = [
  { ...SHARED, name: '1, without REDIS_URL', gateways: 1, hasRedis: false },
  { ...SHARED, name: '1', gateways: 1 },
  { ...SHARED, name: '2', gateways: 2 },
  { ...SHARED, name: '3', gateways: 3 },
  { ...SHARED, name: '1', gateways: 1, ratePerS: LOW_RATE_PER_S },
  { ...SHARED, name: '2', gateways: 2, ratePerS: LOW_RATE_PER_S },
  { ...SHARED, name: '3', gateways: 3, ratePerS: LOW_RATE_PER_S },
  { ...SHARED, name: '2, watched', gateways: 2, ratePerS: LOW_RATE_PER_S, isWatched: true }
] as const
type SetUp = typeof SET_UPS[number]

interface GatewaysRound {
  /** Acknowledged and stored. */
  readonly readings: number
  /** CPU seconds a million readings. */
  readonly gateway: number
  readonly database: number
  readonly redis: number
  readonly batch: number
  /** Milliseconds until acknowledgements: of the median gateway, and of the worst. */
  readonly p50: number
  readonly p99: number
}

/** One set-up, and all of its rounds. */
export interface GatewaysOutcome {
  readonly setUp: SetUp
  readonly rounds: readonly GatewaysRound[]
}

interface GatewaysRun {
  readonly supervisor: Supervisor
  readonly options: BenchOptions
  readonly say: (line: string) => void
}

interface Running {
  readonly first: DatabaseGateway
  readonly all: readonly Target[]
  readonly redisPid: number | null
  readonly stop: () => Promise<void>
}

/** Measures one to three gateways on one PostgreSQL. */
export async function runGateways ({ supervisor, options, say }: GatewaysRun): Promise<GatewaysOutcome[]> {
  const outcomes: GatewaysOutcome[] = []
  for (const setUp of SET_UPS) {
    const running = await start(supervisor, setUp, options)
    const watcher = setUp.isWatched ? await watch(running.all.at(-1)!.ports.mqtt) : null
    const rounds: GatewaysRound[] = []
    for (let round = 0; round < options.rounds; round++) {
      await untilQuiet(running.all)
      const measured = await measure({
        supervisor, running, options, ratePerS: setUp.ratePerS, prefix: `bench-${outcomes.length}-${round}`
      })
      rounds.push(measured)
      say(`${setUp.name}  round ${round + 1}  ${Object.entries(measured).map(([name, value]) => `${name} ${value.toFixed(2)}`).join('  ')}`)
    }
    await watcher?.end(rounds.reduce((sum, { readings }) => sum + readings, 0))
    await running.stop()
    outcomes.push({ setUp, rounds })
  }
  return outcomes
}

async function start (supervisor: Supervisor, { gateways, hasRedis }: SetUp, { dataDir: parentDir }: BenchOptions): Promise<Running> {
  const dir = supervisor.createDir(parentDir)
  const port = await findFreePort()
  const redisArgs = ['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--appendonly', 'yes']
  const redis = hasRedis ? supervisor.spawnProgram('redis-server', redisArgs) : null
  const environment = hasRedis ? { REDIS_URL: `redis://127.0.0.1:${port}` } : {}
  const options = { parentDir, profileDir: undefined, environment }
  const first = await startGateway(supervisor, { ...options, name: 'gateway 1' })
  const others: Target[] = []
  for (let number = 2; number <= gateways; number++) {
    others.push(await startSecondGateway(supervisor, { ...options, name: `gateway ${number}` }, first))
  }
  return {
    first,
    all: [first, ...others],
    redisPid: redis?.pid ?? null,
    async stop () {
      for (const gateway of [...others.toReversed(), first]) await gateway.stop()
      if (redis !== null) await supervisor.stop(redis)
      supervisor.removeDir(dir)
    }
  }
}

/** A session that gets every reading. `end` @throws when it has not got as many as were stored */
async function watch (port: number): Promise<{ readonly end: (readings: number) => Promise<void> }> {
  const client: MqttClient = await connectAsync(`mqtt://127.0.0.1:${port}`, { clientId: 'watcher', clean: false })
  let received = 0
  client.on('message', () => { received++ })
  await client.subscribeAsync('vital/+', { qos: 1 })
  return {
    async end (readings) {
      const isComplete = await until(() => received >= readings, ARRIVE_TIMEOUT_MS) !== null
      await client.endAsync()
      if (!isComplete) throw new Error(`${readings} readings were stored, and the session that watches got ${received}`)
    }
  }
}

interface MeasureOptions {
  readonly supervisor: Supervisor
  readonly running: Running
  readonly options: BenchOptions
  readonly ratePerS: number
  readonly prefix: string
}

async function measure (
  { supervisor, running, options: { warmupMs, measureMs }, ratePerS, prefix }: MeasureOptions
): Promise<GatewaysRound> {
  const { first, all, redisPid } = running
  const redisCpu = () => redisPid === null ? 0 : readTreeCpuS(redisPid) ?? NaN
  const [stored, batches, redisBefore] = [await first.stored(), await countBatches(all), redisCpu()]
  const rounds = await Promise.all(all.map((target, index) => {
    const settings: LoadSettings = {
      ...SHAPE, port: target.ports.mqtt, ratePerS, warmupMs, measureMs, devicePrefix: `${prefix}-${index}`, secrets: null
    }
    return runRound(supervisor, target, settings)
  }))
  const redisAfter = redisCpu()
  const sum = (pick: (round: Round) => number) => rounds.reduce((all, round) => all + pick(round), 0)
  const sent = sum(({ report }) => report?.readingsSent ?? 0)
  const found = async () => (await first.stored()).rows - stored.rows
  if (await until(async () => await found() >= sent, STORED_TIMEOUT_MS) === null || await found() !== sent) {
    throw new Error(`${sent} readings were acknowledged and ${await found()} are ${first.place}`)
  }
  const after = await countBatches(all)
  const measured = sum(({ report }) => report?.readingsMeasured ?? 0)
  // PostgreSQL is counted with the first gateway, and works for all of them.
  const database = (rounds[0]?.cpu?.database ?? NaN) * (rounds[0]?.report?.readingsMeasured ?? NaN) / measured
  return {
    readings: sent,
    gateway: sum(({ cpu, report }) => (cpu?.server ?? NaN) * (report?.readingsMeasured ?? NaN)) / measured,
    database,
    redis: (redisAfter - redisBefore) / sent * 1e6,
    batch: (after.readings - batches.readings) / (after.batches - batches.batches),
    p50: toSpread(rounds.map(({ metrics }) => metrics['p50'] ?? NaN)).median,
    p99: Math.max(...rounds.map(({ metrics }) => metrics['p99'] ?? NaN))
  }
}

/** One row each, medians over rounds. */
export function formatGateways (outcomes: readonly GatewaysOutcome[]): string {
  const head = [
    'gateways', 'readings/s to each', 'gateway CPU s/M', 'PostgreSQL CPU s/M', 'Redis CPU s/M', 'readings a batch',
    'ack p50 ms', 'ack p99 ms'
  ]
  const rows = outcomes.map(({ setUp: { name, ratePerS }, rounds }) => {
    const median = (pick: (round: GatewaysRound) => number) => toSpread(rounds.map(pick)).median.toFixed(2)
    return [
      name,
      String(ratePerS),
      median(({ gateway }) => gateway),
      median(({ database }) => database),
      median(({ redis }) => redis),
      median(({ batch }) => batch),
      median(({ p50 }) => p50),
      median(({ p99 }) => p99)
    ]
  })
  return `${layOut([head, ...rows])}\nMQTT, QoS 1, all on one PostgreSQL, with REDIS_URL unless it says without. ` +
    'Watched: a persistent session at the other gateway gets every reading at QoS 1.'
}
