import type { Logger } from 'pino'
import type { Database } from '../db/database.ts'
import { createStore, type Store } from '../db/store.ts'
import { createDatabaseReads } from './database-reads.ts'
import { trackWrites } from './erasure.ts'
import { createWriter } from './ingest/writer.ts'
import { createSortedPages } from './pages/sorted-pages.ts'

interface StorageOptions {
  readonly database: Database
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

/** What is written to PostgreSQL and read from it, and between the two the order of the devices, which observes what is committed. */
export function createStorage ({ database, applicationName, faults, logger }: StorageOptions) {
  const { kysely } = database
  const pages = createSortedPages({ kysely, applicationName, logger })
  // Observed below the faults, for what counts is the COMMIT and not who hears of it.
  const store = createStore({ ...database, onStored: pages.observe })
  return {
    writer: trackWrites(createWriter({ store: faults.wrapStore?.(store) ?? store, logger })),
    reads: createDatabaseReads(kysely, pages),
    pages
  }
}
