/**
 * The deferred work of roll-ups, one short transaction after the other:
 *
 *   close ── buckets whose time has passed ─┐
 *   late ─── buckets that got a reading ────┼─ a chunk ── rest ── the next chunk
 *   build ── days from before ──────────────┘
 *
 * Each step takes the first of the three that has work. Its state lies in the database, so that any gateway of the
 * database may take the next step, and a crash loses one step only. After each step the worker rests for three times as
 * long as that took. While ingest is saturated, it takes a step now and then.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import type { Logger } from 'pino'
import { buildChunk } from '../../db/rollups/building.ts'
import { advance, type Awaited, awaitWriters, closeChunk } from '../../db/rollups/closing.ts'
import { type LateBucket, recomputeLate } from '../../db/rollups/late.ts'
import { readState } from '../../db/rollups/turn.ts'
import type { Tables } from '../../db/tables.ts'

/** A chunk is made smaller or larger so that it takes about this long: a stop, or an erasure, waits for it. */
const CHUNK_MS = 100
const CHUNK_ITEMS_MIN = 1
const CHUNK_ITEMS_MAX = 2000
/** Leaves three quarters of a core to commits. */
const REST_SHARE = 3
const REST_MS_MAX = 1000
/** Between two checks for work. */
const IDLE_MS = 1000
/** Between two steps while ingest is saturated: the averages fall behind, but never stand still. */
const SATURATED_MS = 5000
const SATURATED_POLL_MS = 200
/** Between two checks of transactions that have to end. */
const WRITERS_POLL_MS = 100
/** A transaction that holds up closing for longer is reported. */
const WRITERS_TOLD_AFTER_MS = 60_000
/** From one attempt to the next while PostgreSQL fails. */
const RETRY_MS = 5000

/** Where a test may interfere: a step that throws is rolled back, as by a crash. */
export type RollupPoint =
  'advanced' | 'writers-ended' | 'closed' | 'marks-deleted' | 'late-computed' | 'built'

export interface RollupWorkerOptions {
  readonly kysely: Kysely<Tables>
  /** Unix milliseconds. */
  readonly nowMs: () => number
  readonly isSaturated: () => boolean
  readonly logger: Logger
  readonly onPoint?: (point: RollupPoint) => Promise<void>
}

/** The result of a step. */
type Outcome = 'worked' | 'waiting' | 'idle'

/** Counts since the start. */
export interface RollupCounts {
  readonly lateBuckets: number
  readonly sealedMarks: number
  readonly busyMs: number
}

export function createRollupWorker (options: RollupWorkerOptions) {
  const { kysely, nowMs, isSaturated, logger, onPoint = async () => {} } = options
  const counts = { lateBuckets: 0, sealedMarks: 0, busyMs: 0 }
  const sizes = { close: createChunkSize(), late: createChunkSize(), build: createChunkSize() }
  let awaited: (Awaited & { readonly sinceMs: number }) | null = null
  let lateAfter: LateBucket | null = null
  let stopping: AbortController | null = null
  let stopped: Promise<void> = Promise.resolve()

  async function close (): Promise<Outcome> {
    if (await advance(kysely, nowMs() / 1000) === true) await onPoint('advanced')
    const { openFrom, closedBefore } = await readState(kysely)
    if (closedBefore >= openFrom) {
      awaited = null
      return 'idle'
    }
    const before = awaited
    const now = await awaitWriters(kysely, before, openFrom)
    awaited = { ...now, sinceMs: before?.openFrom === openFrom ? before.sinceMs : performance.now() }
    if (now.writers.size > 0) return 'waiting'
    await onPoint('writers-ended')
    const chunk = await sizes.close.measure((max) => closeChunk(kysely, now, max, () => onPoint('closed')))
    return chunk === null ? 'idle' : 'worked'
  }

  async function late (): Promise<Outcome> {
    const isFirst = lateAfter === null
    const work = await sizes.late.measure((bucketsMax) => recomputeLate(kysely, {
      after: lateAfter,
      bucketsMax,
      onDeleted: () => onPoint('marks-deleted'),
      onComputed: () => onPoint('late-computed')
    }))
    if (work === null) return 'idle'
    lateAfter = work.last
    counts.lateBuckets += work.buckets
    counts.sealedMarks += work.sealed
    // A round that began behind other marks does not show that there are none before.
    return work.buckets + work.sealed > 0 || !isFirst ? 'worked' : 'idle'
  }

  async function build (): Promise<Outcome> {
    if ((await readState(kysely)).builtFrom === -Infinity) return 'idle'
    const chunk = await sizes.build.measure((max) => buildChunk(kysely, max, () => onPoint('built')))
    return chunk === null ? 'idle' : 'worked'
  }

  /** Takes one step. */
  async function step (): Promise<Outcome> {
    const closed = await close()
    if (closed === 'worked') return closed
    for (const work of [late, build]) if (await work() === 'worked') return 'worked'
    return closed
  }

  async function run (signal: AbortSignal): Promise<void> {
    let steppedAtMs = performance.now()
    let isFailing = false
    while (!signal.aborted) {
      const startMs = performance.now()
      if (isSaturated() && startMs - steppedAtMs < SATURATED_MS) {
        await pause(SATURATED_POLL_MS, signal)
        continue
      }
      let pauseMs
      try {
        const outcome = await step()
        const tookMs = performance.now() - startMs
        if (outcome === 'worked') counts.busyMs += tookMs
        pauseMs = outcome === 'worked'
          ? Math.min(tookMs * REST_SHARE, REST_MS_MAX)
          : outcome === 'waiting' ? WRITERS_POLL_MS : IDLE_MS
        if (isFailing) logger.info('roll-ups are computed again')
        isFailing = false
      } catch (error) {
        if (signal.aborted) return
        if (!isFailing) logger.warn({ err: error }, 'roll-ups could not be computed and will be tried again; averages stay exact')
        isFailing = true
        pauseMs = RETRY_MS
      }
      steppedAtMs = performance.now()
      await pause(pauseMs, signal)
    }
  }

  return {
    step,
    get counts (): RollupCounts { return counts },

    /** The transactions that closing waits for, once it has waited for long; otherwise `null`. */
    waitingForWriters (): ReadonlySet<string> | null {
      if (awaited === null || awaited.writers.size === 0) return null
      return performance.now() - awaited.sinceMs < WRITERS_TOLD_AFTER_MS ? null : awaited.writers
    },

    start (): void {
      stopping = new AbortController()
      stopped = run(stopping.signal)
    },

    /** Settles once the step under way has ended. */
    async stop (): Promise<void> {
      stopping?.abort()
      await stopped
    }
  }
}

async function pause (delayMs: number, signal: AbortSignal): Promise<void> {
  await sleep(delayMs, undefined, { signal, ref: false }).catch(() => { /* It was aborted. */ })
}

/**
 * How many devices or buckets make a chunk of {@link CHUNK_MS}. It begins with the least: a day of one device may take
 * a quarter of a second.
 */
function createChunkSize () {
  let items = CHUNK_ITEMS_MIN
  return {
    async measure<T> (chunk: (itemsMax: number) => Promise<T>): Promise<T> {
      const startMs = performance.now()
      const result = await chunk(items)
      const tookMs = performance.now() - startMs
      if (tookMs > CHUNK_MS * 2) items = Math.max(CHUNK_ITEMS_MIN, items >> 1)
      else if (tookMs < CHUNK_MS) items = Math.min(CHUNK_ITEMS_MAX, items * 2)
      return result
    }
  }
}
