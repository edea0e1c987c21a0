import { SINK_LIMITS } from '../sink/limits.ts'

const MIB = 1024 * 1024

/** Bounds of a lake, with their reasons; those of the reader of Kafka among them. */
export const LAKE_LIMITS = {
  ...SINK_LIMITS,
  /** Records that were read are still in Kafka, so a partition is given up at once. */
  revokeMs: 0,
  drainMs: 0,
  /**
   * Memory of DuckDB; beyond it DuckDB moves rows to the disk. With Node.js and the Parquet writer the process stays
   * below 1 GiB.
   */
  memoryBytesMax: 256 * MIB,
  /** Size in Kafka of the records of one plan, which bounds what is on the disk at a time. */
  planBytesMax: 1024 * MIB,
  /**
   * Estimated bytes of Parquet for each byte of a record, until a plan is written. Readings of random numbers need
   * 0.13.
   */
  parquetRatio: 0.15,
  /** Rows of a row group; a reader skips groups without the devices that it wants. DuckDB's default. */
  rowGroupRows: 122_880,
  /** Readings between two checks whether the partition is still owned. The process answers `/health` in between. */
  turnRecords: 512,
  /** Time-out of a request to the store. */
  storeTimeoutMs: 30_000,
  /** Additional time for each mebibyte, because the network to the store may be slow. */
  storeTimeoutMsPerMib: 1000,
  /** Retries of a conditional write while another write of the same key is under way (409). */
  conflictsMax: 20,
  conflictMs: 100,
  /** How long files of a plan may be put after a check has found that the plan is not carried out. */
  planOpenMs: 10 * 60_000,
  /**
   * Age of a file without readings, and of the end of its plan, from which a compaction removes the file. By then
   * nothing can put the file any more: that takes `planOpenMs`, the quarter of an hour for which a store accepts a
   * signature, and another quarter for clocks that differ.
   */
  emptyAgeMs: 24 * 3_600_000,
  /** Files that a compaction joins at a time, because DuckDB opens all of them. */
  joinedFilesMax: 256
}

export type LakeLimits = Readonly<typeof LAKE_LIMITS>
