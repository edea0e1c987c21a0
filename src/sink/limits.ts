/** Bounds of a sink, with their reasons. */
export const SINK_LIMITS = {
  /** Bytes of one fetch. Kafka sends a batch of records whole, even if it is larger. */
  fetchBytesMax: 4 * 1024 * 1024,
  /** Bytes of one partition in a fetch, so that each partition gets a share. */
  fetchPartitionBytesMax: 1024 * 1024,
  /** A broker without new records answers after this time. Partitions that are added meanwhile wait for that answer. */
  fetchWaitMs: 500,
  /** A partition that holds so many bytes, three batches, is not fetched until some are stored. */
  partitionBytesMax: 6 * 1024 * 1024,
  /** A frozen broker does not answer, but its connection stays open. */
  requestTimeoutMs: 5000,
  connectTimeoutMs: 3000,
  /** After a failure the next attempt waits, twice as long each time. */
  retryMsMin: 100,
  retryMsMax: 5000,
  /**
   * Time to store records that were read when a partition is taken away. After that its next owner reads them again.
   */
  revokeMs: 2000,
  /** The same when the sink stops. No device waits for it. */
  drainMs: 5000,
  /** After this time without progress, while PostgreSQL takes batches, the sink leaves the group and joins it again. */
  stuckMs: 60_000,
  /** Wait before this sink claims back a partition that another sink claimed, so that two sinks do not race for it. */
  reclaimMs: 2000,
  /** A partition that is stopped is claimed again after this time: an operator may have set its position. */
  stoppedMs: 10_000,
  /** A partition that waits longer until PostgreSQL is cleared of an erased device is a warning: no gateway may be there. */
  heldToldMs: 10_000,
  /** How long readiness warns of records that brokers lost. */
  cutToldMs: 3_600_000,
  /** Interval at which the sink checks whether the topics exist. */
  topicsMs: 10_000,
  /** Time-out of a statement. No device waits for a batch. */
  statementTimeoutMs: 10_000,
  /** One transaction forms in the server while the next one's rows arrive. */
  batchesInFlightMax: 2,
  batchBytesMax: 2 * 1024 * 1024
}

export type SinkLimits = Readonly<typeof SINK_LIMITS>
