/** Asks the database at intervals what became of accepted writes: 2xx does not mean that a query finds them. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { type Dialect, type Inspection, NOTHING_TOLD } from './dialect.ts'
import { ExportError } from './export-error.ts'
import type { ExportLimits } from './limits.ts'

interface InspectorOptions {
  readonly inspect: Dialect['inspect']
  readonly limits: Pick<ExportLimits, 'inspectMs' | 'ignoredToldMs'>
  readonly logger: Logger
}

export function createInspector ({ inspect, limits, logger }: InspectorOptions) {
  const stopping = new AbortController()
  let running: Promise<void> = Promise.resolve()
  let found: Inspection = NOTHING_TOLD
  let seen: ReadonlyMap<string, number> | null = null
  /** Values dropped since this process was started, by reason. */
  const ignored = new Map<string, number>()
  let ignoredAtMs = -Infinity

  function count (reason: string, dropped: number): void {
    if (dropped === 0) return
    if (!ignored.has(reason)) logger.error({ reason, dropped }, 'the time-series database drops values that it has taken')
    ignored.set(reason, (ignored.get(reason) ?? 0) + dropped)
    ignoredAtMs = performance.now()
  }

  async function look (): Promise<void> {
    try {
      const next = await inspect()
      // Its counters begin at 0 when it restarts.
      for (const [reason, total] of seen === null ? [] : next.ignored) {
        const before = seen?.get(reason) ?? 0
        count(reason, total < before ? total : total - before)
      }
      if (next.stopped !== null && found.stopped === null) logger.error(`the time-series database applies nothing: ${next.stopped}`)
      seen = next.ignored
      found = next
    } catch (error) {
      if (!(error instanceof ExportError)) throw error
      // If it does not answer, writes fail too, and they report it.
      logger.debug({ err: error }, 'the time-series database cannot be inspected now')
    }
  }

  async function run (): Promise<void> {
    const { signal } = stopping
    while (!signal.aborted) {
      await look()
      await sleep(limits.inspectMs, undefined, { signal }).catch(() => {})
    }
  }

  return {
    get unapplied () { return found.unapplied },
    ignored: ignored as ReadonlyMap<string, number>,
    /** Counts points that were dropped, as an answer reported. */
    count,
    /** @throws {@link ExportError} if the database applies nothing now, so that more writes would only wait */
    assertApplying (): void {
      if (found.stopped !== null) throw new ExportError(found.stopped)
    },
    warnings (): string[] {
      const isTold = ignored.size > 0 && performance.now() - ignoredAtMs < limits.ignoredToldMs
      const counts = [...ignored].map(([reason, total]) => `${total} ${reason}`).join(', ')
      return [
        ...found.stopped === null ? [] : [`the time-series database applies nothing of what it takes: ${found.stopped}`],
        ...isTold ? [`the time-series database dropped values that it had taken: ${counts}`] : [],
        ...found.warnings
      ]
    },
    start (): void { running = run() },
    async stop (): Promise<void> {
      stopping.abort()
      await running
    }
  }
}

export type Inspector = ReturnType<typeof createInspector>
