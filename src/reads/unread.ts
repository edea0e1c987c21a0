import type { Kysely } from 'kysely'
import type { Tables } from '../../db/tables.ts'
import { createReadBudget } from './read-budget.ts'
import type { ReadsOptions } from './reads.ts'

/** Work beside the traffic asks now and then; more queries at a time would take connections from batches. */
const QUERIES_MAX = 1

/**
 * Takes the place of reads in a process that stores readings and answers no reads: it keeps no order of devices in
 * memory, but brings what it stores into the copy in Redis, where there is one.
 */
export function createUnread (options: Omit<ReadsOptions, 'connectionsMax' | 'connectionString'> & { readonly kysely: Kysely<Tables> }) {
  const { createCache, kysely, applicationName } = options
  const budget = createReadBudget({ kysely, queriesMax: QUERIES_MAX })
  const cache = createCache?.({ ...options, name: applicationName, budget }) ?? null
  cache?.open()
  return {
    budget,
    copy: cache?.copy ?? null,
    pages: { observe () {}, forget () {} },
    forgetCopied: (device: string): void => { cache?.forget(device) },
    start (): void { cache?.start() },
    stop: async (): Promise<void> => { await cache?.stop() },
    /** Shown in readiness, for as long as they hold. */
    warnings: (): string[] => cache?.warnings() ?? [],
    close: async (): Promise<void> => { await cache?.close() }
  }
}
