import type { Writer } from './postgres-writer.ts'

/** Destination of batches: PostgreSQL, or Kafka in front of it. The circuit and the replayer do not depend on which. */
export interface Target extends Writer {
  /** Name in messages. */
  readonly name: 'PostgreSQL' | 'Kafka'
  /** Outcome in the ledger of a reading that the target has. */
  readonly outcome: 'stored' | 'logged'
  /** @throws when the target takes no readings now, or does not answer in time */
  ping (): Promise<void>
  /** Conditions shown in readiness while they last. */
  warnings (): readonly string[]
}
