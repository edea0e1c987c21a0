import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import type { VersionedRow } from '../../db/queries/copied-rows.ts'
import { findFreePort } from '../../db/embedded/cluster.ts'
import { CacheWriter } from '../../src/reads/latest-cache/cache-writer.ts'
import { parsePage, toPageArguments } from '../../src/reads/latest-cache/cached-page.ts'
import { CACHE_LIMITS } from '../../src/reads/latest-cache/limits.ts'
import { ScriptedLink } from '../../src/reads/latest-cache/scripted-link.ts'
import { DEVICE_DIGITS, FLEET } from '../harness/preload.ts'
import { readTreeCpuS } from '../harness/process-stat.ts'
import { Histogram, toSpread } from '../harness/statistics.ts'
import { until } from '../harness/until.ts'
import { GET_SORTS } from './load/messages.ts'
import type { BenchOptions } from './options.ts'
import { layOut } from './report/report.ts'
import type { Supervisor } from './sides/supervisor.ts'

/**
 * Measures the copy of the latest states in Redis without a gateway and without PostgreSQL: the rows of batches as a
 * gateway writes them, on a schedule, and first pages beside them. A page here waits for Redis alone, and not for a
 * core that other processes use.
 */
const DEVICES = 100_000
const RATE_PER_S = 5000
const PAGES_PER_S = 40
/** Rows of a batch: with two idle cores, with two busy ones, and behind a stall. */
const BATCHES = [5, 70, 500]
const START_TIMEOUT_MS = 10_000
const FILL_ROWS = 500
const TOKEN = 'bench'
const VITALS = '{"spo2Value": 98.1, "heartRateValue": 72.1, "breathRateValue": 15.5, "temperatureValue": 36.15}\n' +
  '{"spo2Value": 1790000000.123456, "heartRateValue": 1790000000.123456, "breathRateValue": 1790000000.123456, ' +
  '"temperatureValue": 1790000000.123456}'

interface AloneRound {
  /** CPU seconds of Redis a million rows. */
  readonly cpuS: number
  /** Milliseconds. */
  readonly page: { readonly p50: number, readonly p99: number }
  readonly batch: { readonly p50: number, readonly p99: number }
}

/** One size of batches, and all of its rounds. */
export interface AloneOutcome {
  readonly rows: number
  readonly rounds: readonly AloneRound[]
}

interface AloneRun {
  readonly supervisor: Supervisor
  readonly options: BenchOptions
  readonly say: (line: string) => void
}

/** Measures Redis alone, on a new server for each size of batches. */
export async function runRedisAlone ({ supervisor, options, say }: AloneRun): Promise<AloneOutcome[]> {
  const outcomes: AloneOutcome[] = []
  for (const rows of BATCHES) {
    const dir = supervisor.createDir(options.dataDir)
    const port = await findFreePort()
    const redis = supervisor.spawnProgram('redis-server', [
      '--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--appendonly', 'yes'
    ])
    const open = { url: `redis://127.0.0.1:${port}`, name: 'bench', limits: CACHE_LIMITS, logger: pino({ level: 'silent' }) }
    const [link, pages] = [new ScriptedLink({ ...open, purpose: 'latest' }), new ScriptedLink({ ...open, purpose: 'pages' })]
    link.start()
    pages.start()
    if (await until(() => link.isReady && pages.isReady, START_TIMEOUT_MS) === null) throw new Error('redis-server does not answer')
    const fleet = createFleet(link)
    for (let from = 0; from < DEVICES; from += FILL_ROWS) await fleet.write(Array.from({ length: FILL_ROWS }, (_, index) => from + index))
    await link.run('COMPLETE', TOKEN, '0', 0)
    const rounds: AloneRound[] = []
    for (let round = 0; round < options.rounds; round++) {
      await load({ fleet, pages, rows, durationMs: options.warmupMs })
      const before = readTreeCpuS(redis.pid ?? 0) ?? NaN
      const { written, page, batch } = await load({ fleet, pages, rows, durationMs: options.measureMs })
      const cpuS = ((readTreeCpuS(redis.pid ?? 0) ?? NaN) - before) / written * 1e6
      rounds.push({ cpuS, page: toLatencyMs(page), batch: toLatencyMs(batch) })
      say(`batches of ${rows}  round ${round + 1}  ${JSON.stringify(rounds.at(-1))}`)
    }
    link.close()
    pages.close()
    await supervisor.stop(redis)
    supervisor.removeDir(dir)
    outcomes.push({ rows, rounds })
  }
  return outcomes
}

const toLatencyMs = (histogram: Histogram) => ({ p50: histogram.percentile(0.5) / 1000, p99: histogram.percentile(0.99) / 1000 })

/** Devices whose rows are written as a gateway does behind each COMMIT, with the intent before it. */
function createFleet (link: ScriptedLink) {
  const lost = () => { throw new Error('Redis did not take a batch') }
  const repairs = { add: lost, addUndecided: lost, has: () => false, repair: lost }
  const writer = new CacheWriter({ link, name: 'bench', repairs, limits: { ...CACHE_LIMITS, waitMs: CACHE_LIMITS.commandTimeoutMs } })
  let version = 0
  const toRow = (number: number): VersionedRow => ({
    device: `${FLEET}-${String(number).padStart(DEVICE_DIGITS, '0')}`,
    version: String(version += 300),
    time: String(Math.floor((performance.timeOrigin + performance.now()) * 1000)),
    heart: String(60 + Math.floor(Math.random() * 256) / 8),
    breath: String(10 + Math.floor(Math.random() * 64) / 8),
    rest: VITALS
  })
  return {
    async write (numbers: readonly number[]): Promise<void> {
      const rows = numbers.map(toRow)
      const intent = await writer.begin(rows.map(({ device }) => device), 0)
      await intent.apply(rows)
    }
  }
}

interface LoadOptions {
  readonly fleet: ReturnType<typeof createFleet>
  readonly pages: ScriptedLink
  readonly rows: number
  readonly durationMs: number
}

async function load ({ fleet, pages, rows, durationMs }: LoadOptions): Promise<{ written: number, page: Histogram, batch: Histogram }> {
  const [page, batch] = [new Histogram(), new Histogram()]
  const underWay: Array<Promise<void>> = []
  const time = async (work: Promise<unknown>, histogram: Histogram) => {
    const beganMs = performance.now()
    await work
    histogram.record((performance.now() - beganMs) * 1000)
  }
  const startMs = performance.now()
  async function onSchedule (intervalMs: number, begin: (index: number) => Promise<void>): Promise<void> {
    for (let index = 0; index * intervalMs < durationMs; index++) {
      const waitMs = startMs + index * intervalMs - performance.now()
      if (waitMs > 0) await sleep(waitMs)
      underWay.push(begin(index))
    }
  }
  async function readPage (index: number): Promise<void> {
    // Otherwise every page would be asked for just when a batch is written.
    await sleep(Math.random() * 1000 / PAGES_PER_S)
    const search = { sortBy: GET_SORTS[index % 4] ?? 'deviceId', orderBy: index % 8 < 4 ? 'desc' : 'asc', offset: 0, count: 20 } as const
    await time(pages.run('PAGE', ...toPageArguments(TOKEN, search)).then((reply) => {
      if (parsePage(reply, search)?.resources.length !== search.count) throw new Error('Redis did not answer a page')
    }), page)
  }
  let written = 0
  await Promise.all([
    onSchedule(rows / RATE_PER_S * 1000, async () => {
      written += rows
      await time(fleet.write(pickSome(rows)), batch)
    }),
    onSchedule(1000 / PAGES_PER_S, readPage)
  ])
  await Promise.all(underWay)
  return { written, page, batch }
}

function pickSome (count: number): number[] {
  const numbers = new Set<number>()
  while (numbers.size < count) numbers.add(Math.floor(Math.random() * DEVICES))
  return [...numbers]
}

/** One row each, medians over rounds. */
export function formatRedisAlone (outcomes: readonly AloneOutcome[]): string {
  const head = ['rows a batch', 'Redis CPU s/M', 'page p50 ms', 'page p99 ms', 'batch p50 ms', 'batch p99 ms']
  const table = outcomes.map(({ rows, rounds }) => {
    const median = (pick: (round: AloneRound) => number) => toSpread(rounds.map(pick)).median.toFixed(2)
    return [
      String(rows), median(({ cpuS }) => cpuS), median(({ page }) => page.p50), median(({ page }) => page.p99),
      median(({ batch }) => batch.p50), median(({ batch }) => batch.p99)
    ]
  })
  return `${layOut([head, ...table])}\n${DEVICES.toLocaleString('en-US')} devices, ${RATE_PER_S.toLocaleString('en-US')} rows/s, ` +
    `${PAGES_PER_S} first pages a second. Batch: intent and rows, each with a round trip.`
}
