import type { LogPartition } from './erasure-record.ts'

/** Position of the last acknowledged record of a write in one partition. */
export interface LogPosition extends LogPartition {
  readonly offset: number
  /**
   * Leader epoch of the partition, as known before the write. The record has this epoch or a later one. -1: not known.
   */
  readonly leaderEpoch: number
}

/** For each position whether its record is lost; `null`: Kafka cannot tell now. */
export type FindLost = (positions: readonly LogPosition[]) => Promise<ReadonlyArray<boolean | null>>
