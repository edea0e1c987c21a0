/** Bounds of a sink, with their reasons. */
export const SINK_LIMITS = {
  /** Of one request. One batch of records comes whole, however large it is. */
  fetchBytesMax: 4 * 1024 * 1024,
  /** Of one partition in it, so that each has its share. */
  fetchPartitionBytesMax: 1024 * 1024,
  /** A broker without new records answers after this time. Partitions that join meanwhile wait as long. */
  fetchWaitMs: 500,
  /** A partition that holds so much is not fetched until some of it is stored: three batches. */
  partitionBytesMax: 6 * 1024 * 1024,
  /** A broker that is frozen answers nothing, and its connection stays open. */
  requestTimeoutMs: 5000,
  connectTimeoutMs: 3000,
  /** After a failure the next attempt waits, twice as long each time. */
  retryMsMin: 100,
  retryMsMax: 5000,
  /** Records that are read when a partition is taken away are stored within this time, else its next owner reads them. */
  revokeMs: 2000,
  /** The same when the sink stops: devices wait for nothing here, and another sink can begin. */
  drainMs: 5000,
  /** So long without any progress while PostgreSQL takes batches, and the sink leaves the group and joins anew. */
  stuckMs: 60_000,
  /** Another sink claimed a partition that is still assigned to this one. Two that both believe to own it must not race. */
  reclaimMs: 2000,
  /** A partition that is stopped is claimed again after this time: an operator may have set its position. */
  stoppedMs: 10_000,
  /** A partition that waits longer until PostgreSQL is cleared of an erased device is a warning: no gateway may be there. */
  heldToldMs: 10_000,
  /** So long readiness warns of records that brokers lost. */
  cutToldMs: 3_600_000,
  /** Whether the topics exist is looked at so often. */
  topicsMs: 10_000,
  /** Largest time of a statement. A batch has no device waiting for it. */
  statementTimeoutMs: 10_000,
  /** One transaction forms in the server while the next one's rows arrive. */
  batchesInFlightMax: 2,
  batchBytesMax: 2 * 1024 * 1024
}

export type SinkLimits = Readonly<typeof SINK_LIMITS>
