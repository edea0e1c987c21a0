/**
 * Bounds of reads: connections, and bytes of memory.
 *
 *   small: query ──> a turn of `queriesMax` ──> PostgreSQL
 *   large: open  ──> a turn of `largeMax` ──> slice ──> slice ──> … ──> close
 *                                               │ one at a time over all answers, and only while less than `bytesMax` is held
 *
 * A small result has its own bound (a page of rows without large values). A result without a bound is fetched slice by
 * slice, each in its own query, so that no transaction and no connection waits for a client. The bytes of every answer
 * count from the fetch until the socket took them. A read that does not get its turn in time is refused
 * (`VITAL_READS_BUSY`) before it has begun.
 */
import type { Kysely } from 'kysely'
import type { Tables } from '../../db/tables.ts'

/** After this time a read is refused, so that the client retries. */
const WAIT_MAX_MS = 2000
/** Reads that wait at a time; each holds its request. */
const WAITING_MAX = 1000
/**
 * Large answers under way. Their slices take turns, so each further one makes the others slower, and none is answered
 * sooner.
 */
const LARGE_MAX = 4
/** From one slice to the next of an answer that is half sent, which cannot become a 503 any more. */
const SLICE_WAIT_MAX_MS = 30_000
/**
 * After a slice the next one waits this many times as long as that one took, so that printing large values takes a
 * quarter of a core of PostgreSQL at most.
 */
const SLICE_REST = 3
const SLICE_REST_MAX_MS = 1000
/**
 * Bytes that may be held when the next read begins. That read may exceed the bound by its own size, once for each read
 * that is under way.
 */
const BYTES_MAX = 16 * 1024 * 1024

/** The read was refused; it may be asked for again at any time. */
export class ReadsBusyError extends Error {
  readonly code = 'VITAL_READS_BUSY'
  constructor (why: string) {
    super(`the read was not begun: ${why}`)
  }
}

/** Runs one query of the pool for reads. */
export type Read = <T>(query: (kysely: Kysely<Tables>) => Promise<T>) => Promise<T>

/**
 * Runs a query at a replica that has replayed a position, or at the primary.
 * @param position - `null`: none is asked for
 */
export type ReadAt = <T>(position: string | null, query: (kysely: Kysely<Tables>) => Promise<T>) => Promise<T>

/** Counts bytes of an answer until the socket took them. @returns a function that releases them; only once counts */
export type HoldBytes = (bytes: number) => () => void

/** An answer whose size is not known beforehand. */
export interface LargeRead {
  /** Fetches the next slice, and holds its bytes until the next call, or {@link LargeRead.close}. */
  slice <T> (query: (kysely: Kysely<Tables>) => Promise<T>, toBytes: (slice: T) => number): Promise<T>
  close (): void
}

export interface ReadBudgetOptions {
  readonly kysely: Kysely<Tables>
  /** Without it every query goes to the primary. */
  readonly readAt?: ReadAt | undefined
  /** Connections of the pool for reads. */
  readonly queriesMax: number
  readonly waitMaxMs?: number
  readonly waitingMax?: number
  readonly largeMax?: number
  readonly bytesMax?: number
}

/** Bounds all reads of a gateway together. */
export function createReadBudget (options: ReadBudgetOptions) {
  const { kysely, waitMaxMs = WAIT_MAX_MS, waitingMax = WAITING_MAX, bytesMax = BYTES_MAX } = options
  let bytes = 0
  let refused = 0
  const hasRoom = () => bytes < bytesMax
  const gate = (turnsMax: number) => createGate({ turnsMax, waitingMax, hasRoom, onRefused: () => { refused++ } })
  const queries = gate(options.queriesMax)
  const answers = gate(options.largeMax ?? LARGE_MAX)
  const slices = gate(1)

  /** Counts bytes that were fetched. @returns a function that releases them; only the first call counts */
  function hold (count: number): () => void {
    let held = count
    bytes += count
    return () => {
      bytes -= held
      held = 0
      for (const waiting of [queries, slices, answers]) waiting.wake()
    }
  }

  const atPrimary: Read = (query) => query(kysely)

  async function run <T> (query: (kysely: Kysely<Tables>) => Promise<T>, queueMaxMs: number, read = atPrimary): Promise<T> {
    await queries.enter(queueMaxMs)
    try {
      return await read(query)
    } finally {
      queries.leave()
    }
  }

  /** @throws `VITAL_READS_BUSY` */
  async function openLarge (read = atPrimary): Promise<LargeRead> {
    await answers.enter(waitMaxMs)
    let release = () => {}
    let isFirst = true
    let isClosed = false
    return {
      async slice (query, toBytes) {
        release()
        await slices.enter(isFirst ? waitMaxMs : SLICE_WAIT_MAX_MS)
        isFirst = false
        const startMs = performance.now()
        try {
          const slice = await run(query, SLICE_WAIT_MAX_MS, read)
          release = hold(toBytes(slice))
          // The client may have gone while it was fetched.
          if (isClosed) release()
          return slice
        } finally {
          setTimeout(slices.leave, Math.min((performance.now() - startMs) * SLICE_REST, SLICE_REST_MAX_MS)).unref()
        }
      },
      close () {
        release()
        if (!isClosed) answers.leave()
        isClosed = true
      }
    }
  }

  return {
    /** @throws `VITAL_READS_BUSY`, or the error of pg */
    query: ((query) => run(query, waitMaxMs)) as Read,
    /** For reads without a client: they wait in the same queue, without a time-out. */
    background: ((query) => run(query, Infinity)) as Read,
    openLarge: () => openLarge(),
    hold,
    /** The same for one request, at a replica where there is one. */
    at (position: string | null): BudgetAt {
      const { readAt } = options
      const read: Read = readAt === undefined ? atPrimary : (query) => readAt(position, query)
      return { query: (query) => run(query, waitMaxMs, read), openLarge: () => openLarge(read) }
    },
    get bytes () { return bytes },
    get waiting () { return queries.waiting + answers.waiting },
    /** Reads that did not get their turn. */
    get refused () { return refused }
  }
}

/** See {@link ReadBudget}. */
export interface BudgetAt {
  readonly query: Read
  openLarge (): Promise<LargeRead>
}

export type ReadBudget = ReturnType<typeof createReadBudget>

interface GateOptions {
  readonly turnsMax: number
  readonly waitingMax: number
  readonly hasRoom: () => boolean
  readonly onRefused: () => void
}

/** Admits `turnsMax` at a time; the others wait in the order in which they came. */
function createGate ({ turnsMax, waitingMax, hasRoom, onRefused }: GateOptions) {
  const waiting = new Set<() => void>()
  let taken = 0

  function wake (): void {
    for (const enter of waiting) {
      if (taken >= turnsMax || !hasRoom()) return
      taken++
      enter()
    }
  }

  return {
    wake,
    get waiting () { return waiting.size },

    /** @throws `VITAL_READS_BUSY` when its turn does not come within `waitMaxMs` */
    async enter (waitMaxMs: number): Promise<void> {
      if (waiting.size === 0 && taken < turnsMax && hasRoom()) {
        taken++
        return
      }
      const refuse = (why: string) => {
        onRefused()
        return new ReadsBusyError(why)
      }
      if (waiting.size >= waitingMax) throw refuse(`${waitingMax} others wait`)
      await new Promise<void>((resolve, reject) => {
        const settle = () => {
          waiting.delete(settle)
          clearTimeout(timer)
          resolve()
        }
        const timer = waitMaxMs === Infinity
          ? undefined
          : setTimeout(() => {
            waiting.delete(settle)
            reject(refuse(`others were under way for ${waitMaxMs} ms`))
          }, waitMaxMs)
        waiting.add(settle)
      })
    },

    leave (): void {
      taken--
      wake()
    }
  }
}
