/** Every bound of ingest that cannot be configured, with its reason. */
export const INGEST_LIMITS = {
  /** Bytes in one transaction; beyond, a batch costs latency and memory but no longer gains throughput. */
  batchBytesMax: 2 * 1024 * 1024,
  /** One transaction forms in the server while the next one's COPY arrives; a third only competes for the two cores. */
  batchesInFlightMax: 2,
  /** 100,000 letters of the largest size would be 25 GiB. */
  deadLetterBytesMax: 1024 * 1024 * 1024,
  /** Longest that a stop waits for accepted readings to become durable. Devices keep the others. */
  drainTimeoutMs: 10_000
}

export type IngestLimits = Readonly<typeof INGEST_LIMITS>
