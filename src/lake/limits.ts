import { SINK_LIMITS } from '../sink/limits.ts'

const MIB = 1024 * 1024

/** Bounds of a lake, with their reasons; those of the reader of Kafka among them. */
export const LAKE_LIMITS = {
  ...SINK_LIMITS,
  /** What is read stays in Kafka, so a partition is given up at once. */
  revokeMs: 0,
  drainMs: 0,
  /** Of DuckDB; beyond, it moves rows to the disk. With Node.js and the writer of Parquet the process stays below 1 GiB. */
  memoryBytesMax: 256 * MIB,
  /** Of records of one plan, as Kafka has them: what lies on the disk at a time, whatever Parquet makes of it. */
  planBytesMax: 1024 * MIB,
  /** Bytes of Parquet by byte of a record, until a plan has told. Readings of random numbers took 0.13. */
  parquetRatio: 0.15,
  /** Rows that Parquet keeps together; a reader skips those whose devices it does not want. DuckDB's default. */
  rowGroupRows: 122_880,
  /** Readings between two looks at whether the partition is still owned; the process answers `/health` between them. */
  turnRecords: 512,
  /** Longest silence of the store before a request is given up. */
  storeTimeoutMs: 30_000,
  /** What a slow way to the store is granted on top, by mebibyte of a file. */
  storeTimeoutMsPerMib: 1000,
  /** So often a conditional write is tried again at once when another one of the same key is under way (409). */
  conflictsMax: 20,
  conflictMs: 100,
  /** So long a file of a plan may be put after the plan was seen not to be carried out. */
  planOpenMs: 10 * 60_000,
  /**
   * Age at which a compaction removes a file without readings, and of the end of its plan: behind what may still put it, which
   * is `planOpenMs`, the quarter of an hour for which a store takes a signature, and another one by which clocks may differ.
   */
  emptyAgeMs: 24 * 3_600_000,
  /** Files that a compaction joins at a time: DuckDB opens all of them. */
  joinedFilesMax: 256
}

export type LakeLimits = Readonly<typeof LAKE_LIMITS>
