import { setTimeout as sleep } from 'node:timers/promises'
import { findFreePort } from '../../db/embedded/cluster.ts'
import { sumMetric } from '../command-line/prometheus-text.ts'
import { FLEET, preloadLatest } from '../harness/preload.ts'
import { readTreeCpuS } from '../harness/process-stat.ts'
import { toSpread } from '../harness/statistics.ts'
import type { LoadSettings } from './load/messages.ts'
import type { BenchOptions } from './options.ts'
import { layOut } from './report/report.ts'
import { type Round, untilQuiet } from './round.ts'
import { readMetrics } from './sides/metrics.ts'
import { runGatewayRound } from './sides/sides.ts'
import type { Supervisor } from './sides/supervisor.ts'
import { type DatabaseGateway, startGateway, startSecondGateway } from './sides/targets.ts'

const DEVICES = 100_000
const TRUSTED_TIMEOUT_MS = 120_000
const BUCKETS = /^vital_latest_cache_page_seconds_bucket\{le="(\S+)"\} (\d+)$/gm

const SHAPE = { connections: 1000, inFlight: 32, ratePerS: 5000 } as const
const PHASES = { writes: { ...SHAPE, traffic: 'open' }, pages: { ...SHAPE, traffic: 'get' } } as const
type Phase = keyof typeof PHASES

/** Without the copy PostgreSQL sorts each page, which takes so much of two cores that batches are late. */
const PHASES_OF = { memory: ['writes'], redis: ['writes', 'pages'] } as const satisfies Record<CacheOutcome['cache'], readonly Phase[]>

interface CacheRound extends Round {
  /** CPU seconds of Redis a million readings. */
  readonly redis: number
  /** Milliseconds until Redis answered a page, as upper bounds; `null` without the copy. */
  readonly inside: { readonly p50: number, readonly p99: number } | null
}

/** One way to keep the order of the devices, every round of each phase. */
export interface CacheOutcome {
  readonly cache: 'memory' | 'redis'
  readonly rounds: Readonly<Record<Phase, readonly CacheRound[]>>
}

interface CacheRun {
  readonly supervisor: Supervisor
  readonly options: BenchOptions
  readonly say: (line: string) => void
}

/** Measures pages and CPU of one of two gateways, without and with the copy of the latest states in Redis. */
export async function runLatestCache ({ supervisor, options, say }: CacheRun): Promise<CacheOutcome[]> {
  const outcomes: CacheOutcome[] = []
  for (const cache of ['redis', 'memory'] as const) {
    const redisPort = await findFreePort()
    const dir = supervisor.createDir(options.dataDir)
    const redis = supervisor.spawnProgram('redis-server', [
      '--port', String(redisPort), '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--appendonly', 'yes'
    ])
    const environment = { REDIS_URL: `redis://127.0.0.1:${redisPort}`, VITAL_LATEST_CACHE: cache }
    const gateway = await startGateway(supervisor, { name: cache, parentDir: options.dataDir, profileDir: undefined, environment })
    await preloadLatest(gateway.database, DEVICES, say)
    const second = await startSecondGateway(supervisor, {
      name: 'second', parentDir: options.dataDir, profileDir: undefined, environment
    }, gateway)
    if (cache === 'redis') await untilCopied(gateway)
    const rounds: Record<Phase, CacheRound[]> = { writes: [], pages: [] }
    for (let round = 0; round < options.rounds; round++) {
      for (const phase of PHASES_OF[cache]) {
        await untilQuiet([gateway])
        const result = await measure(supervisor, gateway, redis.pid ?? 0, toSettings(phase, gateway, options), cache)
        rounds[phase].push(result)
        const metrics = Object.entries(result.metrics).map(([name, value]) => `${name} ${value.toFixed(/^p\d/.test(name) ? 2 : 0)}`)
        say(`${cache}  ${phase}  round ${round + 1}  ${metrics.join('  ')}  Redis ${result.redis.toFixed(2)} CPU s/M  ` +
          (result.inside === null ? '' : `inside p50 <= ${result.inside.p50} ms, p99 <= ${result.inside.p99} ms`))
      }
    }
    await second.stop()
    await gateway.stop()
    await supervisor.stop(redis)
    supervisor.removeDir(dir)
    outcomes.push({ cache, rounds })
  }
  return outcomes
}

function toSettings (phase: Phase, gateway: DatabaseGateway, { warmupMs, measureMs }: BenchOptions): LoadSettings {
  return {
    ...PHASES[phase],
    protocol: 'mqtt',
    qos: 1,
    port: gateway.ports.mqtt,
    readingsPerAnswer: 1,
    warmupMs,
    measureMs,
    devicePrefix: FLEET,
    devices: DEVICES,
    secrets: null
  }
}

async function measure (
  supervisor: Supervisor, gateway: DatabaseGateway, redisPid: number, settings: LoadSettings, cache: CacheOutcome['cache']
): Promise<CacheRound> {
  const [before, cpuBefore] = [await readMetrics(gateway), readTreeCpuS(redisPid) ?? NaN]
  const round = await runGatewayRound(supervisor, gateway, settings)
  const [after, cpuAfter] = [await readMetrics(gateway), readTreeCpuS(redisPid) ?? NaN]
  const stored = sumMetric(after, 'vital_readings_stored_total') - sumMetric(before, 'vital_readings_stored_total')
  const isCached = cache === 'redis' && settings.traffic === 'get'
  return {
    ...round,
    redis: (cpuAfter - cpuBefore) / stored * 1e6,
    inside: isCached ? { p50: toPercentileMs(before, after, 0.5), p99: toPercentileMs(before, after, 0.99) } : null
  }
}

/** The upper bound of the bucket in which a share of the pages between two scrapes ends. */
function toPercentileMs (before: string, after: string, share: number): number {
  const earlier = readBuckets(before)
  const counts = [...readBuckets(after)].map(([bound, count]) => [bound, count - (earlier.get(bound) ?? 0)] as const)
  const all = counts.at(-1)?.[1] ?? 0
  return (counts.find(([, count]) => count >= all * share)?.[0] ?? Infinity) * 1000
}

function readBuckets (text: string): Map<number, number> {
  return new Map([...text.matchAll(BUCKETS)].map(([, bound, count]) => [bound === '+Inf' ? Infinity : Number(bound), Number(count)]))
}

async function untilCopied (gateway: DatabaseGateway): Promise<void> {
  const deadlineMs = performance.now() + TRUSTED_TIMEOUT_MS
  for (;;) {
    const text = await readMetrics(gateway)
    if (sumMetric(text, 'vital_latest_cache_trusted') === 1 && sumMetric(text, 'vital_latest_cache_devices') === DEVICES) return
    if (performance.now() > deadlineMs) throw new Error(`the ${DEVICES} devices are not in Redis after ${TRUSTED_TIMEOUT_MS} ms`)
    await sleep(500)
  }
}

function median (rounds: readonly CacheRound[], pick: (round: CacheRound) => number | null | undefined): string {
  const values = rounds.flatMap((round) => pick(round) ?? [])
  return values.length === 0 ? '-' : toSpread(values).median.toFixed(2)
}

/** One row each, medians over rounds. */
export function formatLatestCache (outcomes: readonly CacheOutcome[]): string {
  const head = [
    'order kept in', 'ack p50 ms', 'ack p99 ms', 'gateway CPU s/M', 'PostgreSQL CPU s/M', 'Redis CPU s/M', 'GET p50 ms', 'GET p99 ms',
    'inside p50 ms, at most', 'inside p99 ms, at most'
  ]
  const rows = outcomes.map(({ cache, rounds: { pages, writes } }) => [
    cache,
    median(writes, ({ metrics }) => metrics['p50']),
    median(writes, ({ metrics }) => metrics['p99']),
    median(writes, ({ cpu }) => cpu?.server),
    median(writes, ({ cpu }) => cpu?.database),
    median(writes, ({ redis }) => redis),
    median(pages, ({ metrics }) => metrics['p50']),
    median(pages, ({ metrics }) => metrics['p99']),
    median(pages, ({ inside }) => inside?.p50),
    median(pages, ({ inside }) => inside?.p99)
  ])
  const devices = DEVICES.toLocaleString('en-US')
  return `${layOut([head, ...rows])}\n${devices} devices, 5,000 readings/s, two gateways; one gets all traffic. ` +
    'GETs: first page by each sort in both orders, 40/s, beside it; inside: until Redis has answered the gateway.'
}
