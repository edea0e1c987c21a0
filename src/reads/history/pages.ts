import type { Kysely } from 'kysely'
import type { Tables } from '../../../db/tables.ts'

/** Runs a query under the budget of reads, and counts the bytes of its result. */
export type Run = <T>(query: (kysely: Kysely<Tables>) => Promise<T>, toBytes: (result: T) => number) => Promise<T>

/**
 * Resources in the order asked for, fetched slice by slice: by key, each slice in a query of its own, so that a download
 * holds no snapshot and no connection while its client reads.
 */
export interface Pages<Resource> {
  /** The next resources; may be none before the end. Not called once `isDone`. */
  slice (run: Run): Promise<Resource[]>
  readonly isDone: boolean
  /** Once done: the cursor behind the last resource, or `null` when nothing is left. */
  readonly next: string | null
}
