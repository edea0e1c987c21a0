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
import { createSortedPages, type SortedPages } from './latest-order/sorted-pages.ts'
import { answerPage, answerRow, type ReadAnswer } from './latest-answers.ts'
import { createHistoryReads, type HistoryReads } from './history/history.ts'
import { createReadBudget, type HoldBytes, type ReadBudget } from './read-budget.ts'
import { addReadsMetrics } from './reads-metrics.ts'

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
   * @throws `VITAL_INVALID_CURSOR`
   */
  listLatest (query: LatestQuery, isGone: () => boolean): Promise<ReadAnswer>
  /** `undefined` when no reading of that device was ever stored. */
  findLatest (device: string, isGone: () => boolean): Promise<ReadAnswer | undefined>
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
}

export interface ReadsOptions {
  readonly connectionString: string
  readonly connectionsMax: number
  readonly applicationName: string
  /** A pooler stands before PostgreSQL. */
  readonly isPooled: () => boolean
  readonly clock: Pick<Clock, 'nowMs'>
  readonly metrics: Metrics
  readonly logger: Logger
}

/**
 * All reads of a gateway: a pool of connections of its own, so that no number of reads takes one from a batch, the
 * budget that bounds them, and the order of the devices, whose `pages.observe` has to see every stored batch.
 */
export function createReads (
  { connectionString, connectionsMax, applicationName, isPooled, clock, metrics, logger }: ReadsOptions
) {
  const database = createDatabase({ connectionString, poolSize: connectionsMax, applicationName, logger, ...TIMEOUTS })
  const budget = createReadBudget({ kysely: database.kysely, queriesMax: connectionsMax })
  const pages = createSortedPages({ budget, applicationName, isPooled, clock, logger })
  addReadsMetrics(metrics, () => ({ budget, pages }))
  return { routes: toRouteReads(budget, pages, clock), budget, pages, close: database.close }
}

export type GatewayReads = ReturnType<typeof createReads>

export function toRouteReads (
  budget: ReadBudget, pages: Pick<SortedPages, 'list'>, clock: Pick<Clock, 'nowMs'>
): RouteReads {
  return {
    reads: {
      async listLatest (query, isGone) {
        const { cursor, silentFor, ...search } = query
        const { next, ...page } = await pages.list({
          ...search,
          silentSinceUs: silentFor === undefined ? undefined : (clock.nowMs() - toDurationS(silentFor) * 1000) * 1000,
          after: cursor === undefined ? undefined : decodeCursor(query, cursor)
        })
        return await answerPage({ budget, isGone }, page, next && encodeCursor(query, next))
      },
      async findLatest (device, isGone) {
        const row = await budget.query((kysely) => findLatest(kysely, device))
        return row && await answerRow({ budget, isGone }, row)
      }
    },
    deadLetters: {
      list: (query) => budget.query((kysely) => selectDeadLetters(kysely, query)),
      find: (id) => budget.query((kysely) => findDeadLetter(kysely, id))
    },
    history: createHistoryReads(budget),
    holdBytes: budget.hold
  }
}
