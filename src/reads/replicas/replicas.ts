/**
 * Chooses a replica (`DATABASE_READ_URL`) or the primary for each read.
 *
 *   POST ──> 202, Vital-Position ──> GET ──> a replica that has replayed it within 100 ms, else the primary
 *   GET without one              ──> a replica that is at most STALE_MAX_MS behind, else the primary
 *                                     (while the primary does not answer: one that has its last known position)
 *
 * Each half second the primary is asked where its log ends, and each replica how far it has replayed. A replica is as old
 * as the newest end of the log that it has passed. A query that fails at a replica is run at the primary.
 */
import type { Kysely } from 'kysely'
import type { Logger } from 'pino'
import { createLogThrottle } from '../../../broker/log-throttle.ts'
import { type LogPosition, type PrimaryState, selectPrimaryState } from '../../../db/queries/select-log-positions.ts'
import { toSqlState } from '../../../db/sqlstate.ts'
import type { Tables } from '../../../db/tables.ts'
import { ReadsBusyError } from '../read-budget.ts'
import { formatPosition, parsePosition } from './position.ts'
import type { Replica } from './replica.ts'

/** A GET without a position shows at least the readings that were stored this long ago, while the primary answers. */
const STALE_MAX_MS = 5000
/** How long a GET waits at a replica for the position that it asks for. */
const POSITION_WAIT_MS = 100
const ASK_INTERVAL_MS = 500
/** SQLSTATEs of a server that ends: `57P01` to `57P05`. */
const SHUTDOWN = '57P'
/** Positions of the primary are kept as long as a replica may be old, and some more. */
const SAMPLES_MAX = 4 * STALE_MAX_MS / ASK_INTERVAL_MS

type Query<T> = (kysely: Kysely<Tables>) => Promise<T>

interface ReplicasOptions {
  /** Each with its own URL. */
  readonly replicas: readonly Replica[]
  /** Of the primary, for reads. */
  readonly primary: Kysely<Tables>
  readonly logger: Logger
  readonly nowMs?: () => number
}

/** Why a read went to the primary. */
export type PrimaryReason = 'unreached' | 'stale' | 'failed'

export function createReplicas ({ replicas, primary, logger, nowMs = () => performance.now() }: ReplicasOptions) {
  const throttle = createLogThrottle({ intervalMs: 10_000 })
  const counts: Record<'replica' | PrimaryReason, number> = { replica: 0, unreached: 0, stale: 0, failed: 0 }
  /** Ends of the primary's log, the newest last. */
  let samples: Array<PrimaryState & { readonly atMs: number }> = []
  /** The primary did not answer the last time. */
  let isAway = false
  let timer: NodeJS.Timeout | undefined
  let turn = 0
  let stopped = false
  let positioning: Promise<PrimaryState> | null = null
  let nextPositioning: Promise<PrimaryState> | null = null

  async function askAll (): Promise<void> {
    const askPrimary = async () => {
      const atMs = nowMs()
      const state = await selectPrimaryState(primary).catch(() => null)
      isAway = state === null
      if (state === null) return
      if (state.timeline !== samples.at(-1)?.timeline || state.systemId !== samples.at(-1)?.systemId) samples = []
      samples.push({ ...state, atMs })
      if (samples.length > SAMPLES_MAX) samples.shift()
    }
    await Promise.all([askPrimary(), ...replicas.map((replica) => replica.ask())])
  }

  function watch (): void {
    // It does not reject.
    askAll().finally(() => { if (!stopped) timer = setTimeout(watch, ASK_INTERVAL_MS) }).catch(() => {})
  }

  /**
   * Milliseconds since the primary told the newest end of its log that this replica has passed; infinite where that is
   * not known. While the primary does not answer, every replica ages: others may be writing to it.
   */
  function ageOf (replica: Replica): number {
    const { state } = replica
    const newest = samples.at(-1)
    if (state === null || newest === undefined || !state.isReplica || state.systemId !== newest.systemId) return Infinity
    const index = samples.findLastIndex((sample) => replica.hasReached(sample))
    return index === -1 ? Infinity : nowMs() - samples[index]!.atMs
  }

  /** Whether nothing newer is known than what this replica has, and the primary cannot be asked. */
  function isLast (replica: Replica): boolean {
    const newest = samples.at(-1)
    return isAway && newest !== undefined && ageOf(replica) !== Infinity && replica.hasReached(newest)
  }

  const listUsable = () => replicas.filter((replica) => ageOf(replica) <= STALE_MAX_MS || isLast(replica))
  /** Takes the usable replicas in turn. */
  function pick (): Replica | null {
    const usable = listUsable()
    return usable[turn++ % usable.length] ?? null
  }

  async function choose (position: LogPosition | null): Promise<Replica | PrimaryReason> {
    const replica = pick()
    if (replica === null) return 'stale'
    if (position === null || await replica.reaches(position, nowMs() + POSITION_WAIT_MS)) return replica
    return 'unreached'
  }

  return {
    start: watch,

    async stop (): Promise<void> {
      stopped = true
      clearTimeout(timer)
      await Promise.all(replicas.map((replica) => replica.close()))
    },

    /**
     * Runs a query at a replica, or else at the primary.
     * @param position - as a client sent it back: the result shows at least the readings stored by then; `null`: at
     *   least those stored `STALE_MAX_MS` ago
     */
    async read<T> (position: string | null, query: Query<T>): Promise<T> {
      const parsed = position === null ? null : parsePosition(position)
      const chosen = position !== null && parsed === null ? 'unreached' : await choose(parsed)
      if (typeof chosen === 'string') {
        counts[chosen]++
        return await query(primary)
      }
      try {
        const result = await query(chosen.kysely)
        counts.replica++
        return result
      } catch (error) {
        if (error instanceof ReadsBusyError) throw error
        // A conflict with changes by the primary (40001), a lost connection, a migration that is not replayed yet.
        counts.failed++
        if (toSqlState(error)?.startsWith(SHUTDOWN) ?? true) chosen.state = null
        throttle((leftOut) => {
          logger.warn({ replica: chosen.name, sqlstate: toSqlState(error), leftOut }, 'a replica did not answer: the primary does')
        })
        return await query(primary)
      }
    },

    /** The end of the log, behind all readings stored before the call. Simultaneous callers share the next query. */
    async position (): Promise<string | null> {
      // A query that is under way may have been answered before the caller's COMMIT.
      nextPositioning ??= (async () => {
        await positioning?.catch(() => {})
        positioning = nextPositioning
        nextPositioning = null
        return await selectPrimaryState(primary)
      })()
      return await nextPositioning.then(formatPosition, () => null)
    },

    /** Shown in readiness, for as long as they hold. */
    warnings: () => listWarnings(replicas, samples.at(-1), { ageOf, isLast }),

    /** Whether one may be read. */
    isUsable: () => listUsable().length > 0,

    counts,
    ages: () => replicas.map((replica) => ({ name: replica.name, ageMs: ageOf(replica) }))
  }
}

export type Replicas = ReturnType<typeof createReplicas>

interface Ages {
  readonly ageOf: (replica: Replica) => number
  readonly isLast: (replica: Replica) => boolean
}

/** @param newest - what the primary answered last; `undefined`: it has not answered yet */
function listWarnings (replicas: readonly Replica[], newest: PrimaryState | undefined, { ageOf, isLast }: Ages): string[] {
  const told = replicas.flatMap((replica) => {
    const { state, name } = replica
    if (state === null) return [`replica ${name} does not answer: the primary answers its reads`]
    if (!state.isReplica) return [`${name} of DATABASE_READ_URL is not a replica: nothing is read there`]
    if (newest === undefined) return []
    if (state.systemId !== newest.systemId) {
      return [`${name} of DATABASE_READ_URL is a replica of another PostgreSQL: nothing is read there`]
    }
    if (ageOf(replica) <= STALE_MAX_MS) return []
    if (isLast(replica)) {
      return [`PostgreSQL of DATABASE_URL does not answer: replica ${name} answers reads, which may lack what others have stored ` +
        `in the last ${Math.round(ageOf(replica) / 1000)} s`]
    }
    return [`replica ${name} is more than ${STALE_MAX_MS / 1000} s behind: the primary answers its reads`]
  })
  if (newest?.isSynchronous !== false) return told
  return [...told, 'COMMIT does not wait for a replica (synchronous_standby_names): promoting one can lose readings that were acknowledged']
}
