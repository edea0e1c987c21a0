import type { Writer } from './postgres-writer.ts'

/** Where the journal brings batches: PostgreSQL, or Kafka in front of it. The circuit and the replayer do not know which. */
export interface Target extends Writer {
  /** In messages. */
  readonly name: 'PostgreSQL' | 'Kafka'
  /** What a reading is in the ledger, once it is there. */
  readonly outcome: 'stored' | 'logged'
  /** @throws where it takes no readings now, or does not answer in time */
  ping (): Promise<void>
  /** Shown in readiness, for as long as they hold. */
  warnings (): readonly string[]
}
