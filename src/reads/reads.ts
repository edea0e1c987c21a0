import type { Logger } from 'pino'
import { createDatabase } from '../../db/database.ts'
import { findDeadLetter } from '../../db/queries/find-dead-letter.ts'
import { findLatest } from '../../db/queries/find-latest.ts'
import { selectDeadLetters } from '../../db/queries/select-dead-letters.ts'
import type { DeadLetterList, DeadLetterQuery, StoredDeadLetter } from '../../schemas/dead-letter.ts'
import { type LatestQuery, toDurationS } from '../../schemas/vital-data.ts'
import type { Clock } from '../clock.ts'
import type { Metrics } from '../metrics/metrics.ts'
import { decodeCursor, encodeCursor } from './latest-order/cursor.ts'
import type { LatestCacheOptions } from './latest-cache/latest-cache.ts'
import type { CreateLatestCache } from './latest-cache/open-latest-cache.ts'
import { createSortedPages, type SortedPages } from './latest-order/sorted-pages.ts'
import { answerPage, answerRow, type ReadAnswer } from './latest-answers.ts'
import { createHistoryReads, type HistoryReads } from './history/history.ts'
import { createReadBudget, type HoldBytes, type ReadBudget } from './read-budget.ts'
import { addReadsMetrics, addReplicaMetrics } from './reads-metrics.ts'
import { Replica } from './replicas/replica.ts'
import { createReplicas } from './replicas/replicas.ts'

/**
 * A page of a thousand devices takes milliseconds, the sort of a million 2 s. A longer query takes a core from commits.
 */
const TIMEOUTS = { connectTimeoutMs: 2000, statementTimeoutMs: 3000, queryTimeoutMs: 4000 }

/**
 * Latest states for the routes. Rejects while PostgreSQL is away, within the pool's time-outs, and with
 * `VITAL_READS_BUSY` under too many requests.
 */
export interface LatestReads {
  /**
   * @param isGone - whether the client has left; then no large value is read for it
   * @param position - the answer shows at least the readings that were stored by then; `null`: see `ReadAt`
   * @throws `VITAL_INVALID_CURSOR`
   */
  listLatest (query: LatestQuery, isGone: () => boolean, position: string | null): Promise<ReadAnswer>
  /** `undefined` when no reading of that device was ever stored. */
  findLatest (device: string, isGone: () => boolean, position: string | null): Promise<ReadAnswer | undefined>
}

/** Dead letters for the routes. Rejects as {@link LatestReads} does. */
export interface DeadLetterReads {
  list (query: DeadLetterQuery): Promise<DeadLetterList>
  /** @param id - a UUID */
  find (id: string): Promise<StoredDeadLetter | undefined>
}

/** The reads of the HTTP routes. */
export interface RouteReads {
  readonly reads: LatestReads
  readonly deadLetters: DeadLetterReads
  readonly history: HistoryReads
  readonly holdBytes: HoldBytes
  /**
   * Reads the end of the log, for `Vital-Position`; resolves with `null` while the primary is away. `null`: there are
   * no replicas.
   */
  readonly position: (() => Promise<string | null>) | null
}

export interface ReadsOptions {
  readonly connectionString: string
  /** Of replicas. */
  readonly replicaUrls: readonly string[]
  readonly connectionsMax: number
  readonly applicationName: string
  /** A pooler stands before PostgreSQL. */
  readonly isPooled: () => boolean
  readonly clock: Pick<Clock, 'nowMs'>
  /** With `VITAL_LATEST_CACHE=redis`. */
  readonly createCache: CreateLatestCache | null
  /** This process stores readings. */
  readonly isWriter: boolean
  /** Where tests end the process between a COMMIT and the copy in Redis. */
  readonly onCommitted?: LatestCacheOptions['onCommitted']
  readonly metrics: Metrics
  readonly logger: Logger
}

/**
 * All reads of a gateway: a pool of connections of their own, so that reads never take one from a batch; the budget
 * that bounds them; and the order of the devices. `pages.observe` has to see every stored batch.
 */
export function createReads (options: ReadsOptions) {
  const { connectionString, replicaUrls, connectionsMax, applicationName, isPooled, clock, metrics, logger } = options
  const pool = { poolSize: connectionsMax, applicationName, logger, ...TIMEOUTS }
  const database = createDatabase({ ...pool, connectionString })
  const replicas = replicaUrls.length === 0
    ? null
    : createReplicas({
      replicas: replicaUrls.map((url) => new Replica({ ...pool, connectionString: url })), primary: database.kysely, logger
    })
  const budget = createReadBudget({ kysely: database.kysely, readAt: replicas?.read, queriesMax: connectionsMax })
  const cache = options.createCache?.({ ...options, name: applicationName, budget }) ?? null
  cache?.open()
  const pages = createSortedPages({ budget, cache, applicationName, isPooled, clock, logger })
  addReadsMetrics(metrics, () => ({ budget, pages }))
  if (replicas !== null) addReplicaMetrics(metrics, () => replicas)
  return {
    routes: toRouteReads(budget, pages, clock, replicas?.position),
    budget,
    pages,
    /** Follows batches into Redis, where there is a copy. */
    copy: cache?.copy ?? null,
    /** Runs an erasure. After it the copy in Redis holds no data of the device. */
    aroundErasure: <T>(device: string, erase: () => Promise<T>): Promise<T> =>
      cache === null ? erase() : cache.aroundErasure(device, erase),
    /** A device was erased, perhaps by another gateway: it is read again for the copy in Redis. */
    forgetCopied: (device: string): void => { cache?.forget(device) },
    start (): void {
      pages.start()
      replicas?.start()
      cache?.start()
    },
    /** Ends the periodic reads. */
    async stop (): Promise<void> {
      await Promise.all([pages.stop(), cache?.stop()])
    },
    /** Whether a replica answers reads now, also without the primary. */
    hasReplica: (): boolean => replicas?.isUsable() ?? false,
    /** Shown in readiness, for as long as they hold. */
    warnings: (): string[] => [...replicas?.warnings() ?? [], ...cache?.warnings() ?? []],
    async close (): Promise<void> {
      await replicas?.stop()
      await cache?.close()
      await database.close()
    }
  }
}

export type GatewayReads = ReturnType<typeof createReads>

/** @param position - of the replicas, where there are some */
export function toRouteReads (
  budget: ReadBudget, pages: Pick<SortedPages, 'list'>, clock: Pick<Clock, 'nowMs'>,
  position: RouteReads['position'] = null
): RouteReads {
  return {
    reads: {
      async listLatest (query, isGone, position) {
        const { cursor, silentFor, ...search } = query
        const { next, ...page } = await pages.list({
          ...search,
          position,
          silentSinceUs: silentFor === undefined ? undefined : (clock.nowMs() - toDurationS(silentFor) * 1000) * 1000,
          after: cursor === undefined ? undefined : decodeCursor(query, cursor)
        })
        return await answerPage({ budget, isGone }, page, next && encodeCursor(query, next))
      },
      async findLatest (device, isGone, position) {
        const here = budget.at(position)
        const row = await here.query((kysely) => findLatest(kysely, device))
        return row && await answerRow({ budget: here, isGone }, row)
      }
    },
    deadLetters: {
      list: (query) => budget.query((kysely) => selectDeadLetters(kysely, query)),
      find: (id) => budget.query((kysely) => findDeadLetter(kysely, id))
    },
    history: createHistoryReads(budget),
    holdBytes: budget.hold,
    position
  }
}
