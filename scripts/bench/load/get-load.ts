import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { type FromLoad, GET_SORTS, type GetReport, type GetSettings, type LatencyMs, type ToGetLoad } from './messages.ts'
import { Histogram } from '../../harness/statistics.ts'

// Asks for pages on a schedule that does not wait for answers: request k is due at start + k / rate. Latency counts from
// then, whether a connection was free or not (no coordinated omission).

/** Requests that may be under way; what is due beyond them waits for a connection, and its wait counts. */
const CONNECTIONS_MAX = 64

/** After this time the server has lost the request. */
const STALL_MAX_MS = 60_000

type Sort = typeof GET_SORTS[number]

function toLatencyMs (histogram: Histogram): LatencyMs {
  const at = (share: number) => histogram.percentile(share) / 1000
  return { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
}

/** Settles when the whole answer has come, with its status: 200, or 503 where PostgreSQL did not answer the gateway in time. */
function get (agent: Agent, port: number, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request({ agent, port, path, host: '127.0.0.1', timeout: STALL_MAX_MS }, (response) => {
      const status = response.statusCode ?? 0
      if (status !== 200 && status !== 503) reject(new Error(`GET ${path} was answered ${status}`))
      response.on('error', reject)
      response.on('end', () => resolve(status))
      response.resume()
    })
    asked.on('timeout', () => asked.destroy(new Error(`GET ${path} had no answer in ${STALL_MAX_MS} ms`)))
    asked.on('error', reject)
    asked.end()
  })
}

/**
 * Asks at `ratePerS` for `durationMs`, and waits for all answers. A refusal counts as if it had taken {@link STALL_MAX_MS}: a server
 * that gives up early must not look quick.
 * @returns how many were refused
 */
async function ask (
  durationMs: number,
  ratePerS: number,
  path: (index: number) => string,
  port: number,
  onAnswer: (index: number, latencyMs: number, dueMs: number) => void
): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS_MAX })
  const startMs = performance.now()
  const asked: Array<Promise<void>> = []
  let refused = 0
  for (let index = 0; index * 1000 / ratePerS < durationMs; index++) {
    const dueMs = startMs + index * 1000 / ratePerS
    if (performance.now() < dueMs) await sleep(dueMs - performance.now())
    asked.push(get(agent, port, path(index)).then((status) => {
      if (status !== 200) refused++
      onAnswer(index, status === 200 ? performance.now() - dueMs : STALL_MAX_MS, dueMs - startMs)
    }))
  }
  await Promise.all(asked)
  agent.destroy()
  return refused
}

/** Every sort in both orders, in turn. */
function toPath (index: number, offset: number): string {
  return `/vital-data?sortBy=${toSort(index)}&orderBy=${index % 8 < 4 ? 'desc' : 'asc'}&offset=${offset}`
}

function toSort (index: number): Sort {
  return GET_SORTS[index % 4] ?? 'deviceId'
}

async function run (settings: GetSettings): Promise<GetReport> {
  const { port, ratePerS, deepRatePerS, deepOffset, warmupMs, measureMs } = settings
  const all = new Histogram()
  const deep = new Histogram()
  const bySort = { deviceId: new Histogram(), heartRate: new Histogram(), breathRate: new Histogram(), timestamp: new Histogram() }
  let answered = 0
  const startMs = performance.now()
  const refused = await ask(warmupMs + measureMs, ratePerS, (index) => toPath(index, 0), port, (index, latencyMs, dueMs) => {
    if (dueMs < warmupMs) return
    answered++
    all.record(latencyMs * 1000)
    bySort[toSort(index)].record(latencyMs * 1000)
  })
  // Ends with the last answer, so requests that were not kept up with lower the rate.
  const measuredMs = Math.max(measureMs, performance.now() - startMs - warmupMs)
  const deepRefused = await ask(measureMs, deepRatePerS, (index) => toPath(index, deepOffset), port,
    (_, latencyMs) => deep.record(latencyMs * 1000))
  return {
    requestsPerS: answered / measuredMs * 1000,
    all: toLatencyMs(all),
    bySort: {
      deviceId: toLatencyMs(bySort.deviceId),
      heartRate: toLatencyMs(bySort.heartRate),
      breathRate: toLatencyMs(bySort.breathRate),
      timestamp: toLatencyMs(bySort.timestamp)
    },
    deep: toLatencyMs(deep),
    refused: refused + deepRefused
  }
}

function tell (message: FromLoad): void {
  process.send?.(message)
}

process.on('disconnect', () => process.exit())
process.once('message', ({ settings }: ToGetLoad) => {
  run(settings).then((report) => tell({ type: 'pages', report }), (error: unknown) => {
    tell({ type: 'failed', message: error instanceof Error ? error.message : String(error) })
  })
})
