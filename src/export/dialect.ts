import type { ExportConfig } from '../config/export-config.ts'
import type { HttpClient } from './http-client.ts'
import type { LineEnd } from './line-protocol.ts'

/** What a database reports about accepted writes. */
export interface Inspection {
  /** Reason why it does not apply them; `null`: it does. */
  readonly stopped: string | null
  /** Accepted transactions that are not visible to queries yet. */
  readonly unapplied: number
  /** Values that it dropped since its start, by its own reason, including those of other writers. */
  readonly ignored: ReadonlyMap<string, number>
  /** Warnings for the operator. */
  readonly warnings: readonly string[]
}

/** The inspection of a database that reports nothing. */
export const NOTHING_TOLD: Inspection = { stopped: null, unapplied: 0, ignored: new Map(), warnings: [] }

/** The requests of one kind of database. Errors are instances of `ExportError`. */
export interface Dialect {
  /** Path of a write. */
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  readonly lineEnd: LineEnd
  /** Names of fields that differ only in case are one. */
  readonly isCaseBlind?: boolean
  /** Makes the table that it needs, if any, and checks it. */
  prepare (): Promise<void>
  /** Name and version of the database, for the operator. */
  describe (): Promise<string>
  inspect (): Promise<Inspection>
  /** Deletes all points of a device that one partition of Kafka brought. @returns `false`: the database cannot */
  erase (deviceTag: string, partition: number): Promise<boolean>
}

/** Options of a {@link Dialect}. */
export interface DialectOptions {
  readonly ask: HttpClient['ask']
  readonly config: ExportConfig
}
