import { SINK_LIMITS } from '../sink/limits.ts'

const MIB = 1024 * 1024

/** Bounds of an export, with their reasons; those of the reader of Kafka among them. */
export const EXPORT_LIMITS = {
  ...SINK_LIMITS,
  /**
   * Smaller than in a sink, because a waiting record needs several times its bytes. With 12 MiB the process needs 400
   * MiB and is not faster.
   */
  fetchBytesMax: MIB / 2,
  fetchPartitionBytesMax: MIB / 8,
  partitionBytesMax: MIB / 2,
  /** Bytes of all partitions together. */
  bufferBytesMax: MIB,
  batchBytesMax: 4 * MIB,
  /** A database that takes longer for a batch gets smaller ones. */
  writeTimeoutMs: 30_000,
  /** Interval at which the database is asked what became of accepted writes. */
  inspectMs: 2000,
  /** How long readiness warns of values that the database dropped. */
  ignoredToldMs: 3_600_000,
  /** Bytes of an answer that are read; the page of metrics of VictoriaMetrics is the largest. */
  answerBytesMax: 4 * MIB,
  /** Higher levels cost more CPU than they save bytes. */
  gzipLevel: 1
}

export type ExportLimits = Readonly<typeof EXPORT_LIMITS>
