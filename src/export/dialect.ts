import type { ExportConfig } from '../config/export-config.ts'
import type { HttpClient } from './http-client.ts'
import type { LineEnd } from './line-protocol.ts'

/** What a database does with what it took. */
export interface Inspection {
  /** Why it applies nothing of it; `null`: it does. */
  readonly stopped: string | null
  /** Transactions that it took, and that no query finds yet. */
  readonly unapplied: number
  /** Values that it dropped since it was started, by its own reason, those of other writers among them. */
  readonly ignored: ReadonlyMap<string, number>
  /** What weakens the export, for an operator. */
  readonly warnings: readonly string[]
}

/** Of a database that tells nothing. */
export const NOTHING_TOLD: Inspection = { stopped: null, unapplied: 0, ignored: new Map(), warnings: [] }

/** How one kind of database differs from the others. Errors are those of `ExportError`. */
export interface Dialect {
  /** Of a write. */
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  readonly lineEnd: LineEnd
  /** Makes what it needs, or says what is wrong with what is there. */
  prepare (): Promise<void>
  /** What answers, for a person. */
  describe (): Promise<string>
  inspect (): Promise<Inspection>
  /** Deletes all points of a device that one partition of Kafka brought. @returns `false`: the database cannot */
  erase (deviceTag: string, partition: number): Promise<boolean>
}

/** What it is asked with. */
export interface DialectOptions {
  readonly ask: HttpClient['ask']
  readonly config: ExportConfig
}
