import type { Logger } from 'pino'
import { createDatabase, type Database } from '../../db/database.ts'
import { createStore, type Store } from '../../db/store.ts'
import { createDatabaseReads } from '../reads/database-reads.ts'
import { trackWrites } from './erasure.ts'
import { createRefusedLetters } from '../ingest/journal/refused-letters.ts'
import { createWriter } from '../ingest/journal/postgres-writer.ts'
import { createSortedPages } from '../reads/latest-order/sorted-pages.ts'
import { createReadBudget } from '../reads/read-budget.ts'

/** A page of a thousand devices takes milliseconds, the sort of a million 2 s; what takes longer would take a core from commits. */
const READ_TIMEOUTS = { connectTimeoutMs: 2000, statementTimeoutMs: 3000, queryTimeoutMs: 4000 }

interface StorageOptions {
  /** Of what is written. */
  readonly database: Database
  readonly connectionString: string
  readonly dataDir: string
  /** Of the pool for reads. */
  readonly readConnectionsMax: number
  readonly applicationName: string
  readonly faults: { readonly wrapStore?: (store: Store) => Store }
  readonly logger: Logger
}

const STATEMENT_TIMEOUT_MS_MIN = 3000

/** A statement is cancelled when nobody waits for its commit any more, and no earlier; where no answer comes, its connection is given up. */
export function toTimeouts (commitTimeoutMs: number): { statementTimeoutMs: number, queryTimeoutMs: number } {
  const statementTimeoutMs = Math.max(STATEMENT_TIMEOUT_MS_MIN, commitTimeoutMs + 500)
  return { statementTimeoutMs, queryTimeoutMs: statementTimeoutMs + 1000 }
}

/**
 * What is written to PostgreSQL and read from it, and between the two the order of the devices, which observes what is committed. Reads have connections
 * of their own, so that no number of them can take one from a batch.
 */
export function createStorage ({ database, connectionString, dataDir, readConnectionsMax, applicationName, faults, logger }: StorageOptions) {
  const readDatabase = createDatabase({ connectionString, poolSize: readConnectionsMax, applicationName, logger, ...READ_TIMEOUTS })
  const budget = createReadBudget({ kysely: readDatabase.kysely, queriesMax: readConnectionsMax })
  const pages = createSortedPages({ budget, applicationName, isPooled: () => database.isPooled, logger })
  // Observed below the faults, for what counts is the COMMIT and not who hears of it.
  const store = createStore({ ...database, onStored: pages.observe })
  const refusedLetters = createRefusedLetters({ dataDir, logger })
  return {
    writer: trackWrites(createWriter({ store: faults.wrapStore?.(store) ?? store, refusedLetters, logger })),
    refusedLetters,
    reads: createDatabaseReads(budget, pages),
    pages,
    budget,
    close: () => readDatabase.close()
  }
}
