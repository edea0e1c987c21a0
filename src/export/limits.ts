import { SINK_LIMITS } from '../sink/limits.ts'

const MIB = 1024 * 1024

/** Bounds of an export, with their reasons; those of the reader of Kafka among them. */
export const EXPORT_LIMITS = {
  ...SINK_LIMITS,
  /** Smaller than those of a sink: a record that waits takes several times its bytes. With 12 MiB the process took 400 MiB, and was no faster. */
  fetchBytesMax: MIB / 2,
  fetchPartitionBytesMax: MIB / 8,
  partitionBytesMax: MIB / 2,
  /** Of all partitions together. */
  bufferBytesMax: MIB,
  batchBytesMax: 4 * MIB,
  /** A database that takes longer for a batch gets smaller ones. */
  writeTimeoutMs: 30_000,
  /** The database is asked so often what it does with what it took. */
  inspectMs: 2000,
  /** What the database dropped is a warning for so long. */
  ignoredToldMs: 3_600_000,
  /** Bytes of an answer that are read; the page of metrics of VictoriaMetrics is the largest. */
  answerBytesMax: 4 * MIB,
  /** Each level above took more CPU than it saved bytes. */
  gzipLevel: 1
}

export type ExportLimits = Readonly<typeof EXPORT_LIMITS>
