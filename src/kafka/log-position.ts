import type { LogPartition } from './erasure-record.ts'

/** The last record of a write, in one partition, that Kafka has acknowledged. */
export interface LogPosition extends LogPartition {
  readonly offset: number
  /**
   * Leader epoch of the partition when it was last looked at before the write. The record has this one or a later one. -1:
   * the partition had not been looked at.
   */
  readonly leaderEpoch: number
}

/** Tells which of some records the log has; `null`: Kafka does not tell now. */
export type FindLost = (positions: readonly LogPosition[]) => Promise<ReadonlyArray<boolean | null>>
