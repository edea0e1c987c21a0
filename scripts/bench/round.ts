import type { ChildProcess } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { compiled } from '../harness/compile.ts'
import type { FromLoad, GetReport, LoadReport, LoadSettings, ToGetLoad, ToLoad } from './load/messages.ts'
import { readBusyCpuS, readPeakRssBytes, readRssBytes } from '../harness/process-stat.ts'
import type { Supervisor } from './sides/supervisor.ts'
import type { Target } from './sides/targets.ts'
import { GETS } from './workloads.ts'

/** Memory of a server settles for this long before it is read. */
const RSS_SETTLE_MS = 2000

const LAST_WORDS_MS = 500

/**
 * One round against one target. Metrics by name: `rate` (readings/s; with `get`, requests/s), `p50`, `p99`, `p99.9`
 * (ms), `bytes` (each connection).
 */
export interface Round {
  readonly target: string
  readonly metrics: Readonly<Record<string, number>>
  /** CPU seconds per million readings while measuring; `null` without /proc. */
  readonly cpu: { readonly server: number, readonly database: number } | null
  readonly peakRssBytes: number | null
  /** Cores that everything but target and generator used while measuring; `null` without /proc. */
  readonly otherCores: number | null
  /** Readings that the spool acknowledged and that were replayed since; with PostgreSQL as the store, ideally none. */
  readonly replayed: number
  readonly report: LoadReport | null
}

/** Waits for the next message of a type; a failure, or the end of the process, rejects. */
function createInbox (child: ChildProcess) {
  const arrived: FromLoad[] = []
  let wake = () => {}
  let ended: Error | null = null
  child.on('message', (message: FromLoad) => {
    arrived.push(message)
    wake()
  })
  child.once('exit', () => {
    ended = new Error('the load generator ended before its result')
    wake()
  })
  return {
    async expect<T extends FromLoad['type']> (type: T): Promise<Extract<FromLoad, { type: T }>> {
      for (;;) {
        const message = arrived.shift()
        if (message?.type === 'failed') throw new Error(message.message)
        if (message?.type === type) return message as Extract<FromLoad, { type: T }>
        if (message === undefined) {
          if (ended !== null) throw ended
          await new Promise<void>((resolve) => { wake = resolve })
        }
      }
    }
  }
}

/**
 * Loads `target` once.
 * @param program - the compiled load generator
 * @param onConnected - its connections are open, and it has not sent anything yet
 * @throws when the target or the generator fails, or when something was never acknowledged
 */
export async function runRound (
  supervisor: Supervisor, target: Target, settings: LoadSettings,
  program: 'load' | 'postgres-load' = 'load', args: readonly string[] = [], onConnected = () => {}
): Promise<Round> {
  const child = supervisor.fork(compiled(`load/${program}`), args)
  try {
    const measured = settings.traffic === 'idle'
      ? idle(child, target, settings)
      : settings.traffic === 'get' ? getMeanwhile(supervisor, child, target, settings) : load(child, target, settings, { onConnected })
    return await Promise.race([measured, target.gone])
  } catch (error) {
    // A server that dies closes its sockets first, and its last log lines tell more than their errors.
    await Promise.race([target.gone, sleep(LAST_WORDS_MS)])
    const message = error instanceof Error ? error.message : String(error)
    throw new Error(`${message}\n${target.tail()}`.trimEnd(), { cause: error })
  } finally {
    await supervisor.stop(child)
  }
}

function tell (child: ChildProcess, message: ToLoad): void {
  child.send(message)
}

interface LoadEvents {
  readonly onConnected?: () => void
  readonly onMeasuring?: () => void
}

async function load (
  child: ChildProcess, target: Target, settings: LoadSettings, { onConnected = () => {}, onMeasuring = () => {} }: LoadEvents
): Promise<Round> {
  const inbox = createInbox(child)
  tell(child, { type: 'run', settings })
  await inbox.expect('connected')
  onConnected()
  tell(child, { type: 'go' })
  await inbox.expect('measuring')
  onMeasuring()
  const before = target.cpu()
  const busyBefore = readBusyCpuS()
  await inbox.expect('measured')
  const after = target.cpu()
  const busyAfter = readBusyCpuS()
  const { report } = await inbox.expect('result')
  if (report.readingsAcked !== report.readingsSent) {
    throw new Error(`${target.name}: ${report.readingsSent} readings sent, ${report.readingsAcked} acknowledged`)
  }
  const million = report.readingsMeasured / 1e6
  const { latencyMs } = report
  const used = before === null || after === null
    ? null
    : { server: after.server - before.server, database: after.database - before.database }
  const seconds = report.measuredMs / 1000
  return {
    target: target.name,
    metrics: {
      rate: report.readingsMeasured / report.measuredMs * 1000,
      ...(latencyMs === null ? {} : { p50: latencyMs.p50, p99: latencyMs.p99, 'p99.9': latencyMs.p999 })
    },
    cpu: used === null ? null : { server: used.server / million, database: used.database / million },
    otherCores: used === null || busyBefore === null || busyAfter === null
      ? null
      : Math.max(0, (busyAfter - busyBefore - used.server - used.database) / seconds - report.cpuCores),
    peakRssBytes: readPeakRssBytes(target.pid),
    replayed: 0,
    report
  }
}

/** GETs of another process while readings arrive at the workload's rate, with the p99 of their acknowledgements. */
async function getMeanwhile (supervisor: Supervisor, child: ChildProcess, target: Target, settings: LoadSettings): Promise<Round> {
  const { warmupMs, measureMs } = settings
  let pages: Promise<GetReport> | null = null
  const ingesting = { ...settings, measureMs: warmupMs + 2 * measureMs }
  const round = await load(child, target, ingesting, {
    onMeasuring: () => {
      pages = getPages(supervisor, target, { port: target.ports.http, warmupMs, measureMs, ...GETS })
      // Awaited below; until then its rejection is not unhandled.
      pages.catch(() => {})
    }
  })
  const report = await (pages as Promise<GetReport> | null)
  if (report === null) throw new Error('no pages were asked for')
  const { all, bySort, deep, requestsPerS, refused } = report
  return {
    ...round,
    metrics: {
      rate: requestsPerS,
      p50: all.p50,
      p99: all.p99,
      'p99.9': all.p999,
      ...Object.fromEntries(Object.entries(bySort).map(([sort, { p99 }]) => [`p99 ${sort}`, p99])),
      'p50 deep': deep.p50,
      'p99 deep': deep.p99,
      'p99 ack': round.metrics['p99'] ?? 0,
      refused
    }
  }
}

async function getPages (supervisor: Supervisor, target: Target, settings: ToGetLoad['settings']): Promise<GetReport> {
  const child = supervisor.fork(compiled('load/get-load'))
  try {
    const inbox = createInbox(child)
    child.send({ type: 'get', settings } satisfies ToGetLoad)
    return (await inbox.expect('pages')).report
  } finally {
    await supervisor.stop(child)
  }
}

async function idle (child: ChildProcess, target: Target, settings: LoadSettings): Promise<Round> {
  const inbox = createInbox(child)
  await sleep(RSS_SETTLE_MS)
  const before = readRssBytes(target.pid)
  tell(child, { type: 'run', settings })
  await inbox.expect('connected')
  await sleep(RSS_SETTLE_MS)
  const after = readRssBytes(target.pid)
  return {
    target: target.name,
    metrics: before === null || after === null ? {} : { bytes: (after - before) / settings.connections },
    cpu: null,
    otherCores: null,
    peakRssBytes: readPeakRssBytes(target.pid),
    replayed: 0,
    report: null
  }
}

/** Server and database count as quiet when both together use less than this share of a core. */
const QUIET_CORES = 0.05
const QUIET_STEP_MS = 250
const QUIET_TIMEOUT_MS = 5000

/** Waits until deferred work of the last round (write-back, vacuum) is done, so that the next does not pay for it. */
export async function untilQuiet (targets: readonly Target[]): Promise<void> {
  const sum = () => targets.reduce<number>((total, { cpu }) => {
    const now = cpu()
    return now === null ? total : total + now.server + now.database
  }, 0)
  const deadlineMs = performance.now() + QUIET_TIMEOUT_MS
  let last = sum()
  while (performance.now() < deadlineMs) {
    await sleep(QUIET_STEP_MS)
    const now = sum()
    if ((now - last) / (QUIET_STEP_MS / 1000) < QUIET_CORES) return
    last = now
  }
}
