import type { Kysely } from 'kysely'
import type { Tables } from '../../db/tables.ts'
import { createReadBudget } from './read-budget.ts'
import type { ReadsOptions } from './reads.ts'

/** What goes on beside the traffic asks now and then; more would take connections from batches. */
const QUERIES_MAX = 1

/**
 * In the place of reads, for a process that stores readings and answers none: it has no order of devices in memory, but follows
 * what it stores into Redis, where there is a copy.
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
