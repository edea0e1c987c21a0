/** Bounds of the bridge, with their reasons. */
export const BRIDGE_LIMITS = {
  /**
   * Messages that the broker may send before the first of them is acknowledged (Receive Maximum): four batches, less than the buffer of
   * ingest may hold. Beyond, the socket is not read.
   */
  receiveMaximum: 8192,
  /** Bytes of payloads that are not acknowledged; beyond, the socket is not read. */
  heldBytesMax: 16 * 1024 * 1024,
  /** After so long the broker forgets the session of a member that stays away, with what waits in it: a long weekend and more. */
  sessionExpiryS: 7 * 86_400,
  /** A broker that sends nothing for one and a half times as long has gone. */
  keepAliveS: 30,
  /** For TCP, TLS and CONNACK together. */
  connectTimeoutMs: 10_000,
  /** The start waits so long for the first answer, and goes on trying behind it. */
  startWaitMs: 5000,
  /** After a failure the next attempt waits, twice as long each time, and up to half of that less by chance: members come back apart. */
  retryMsMin: 200,
  retryMsMax: 30_000,
  /** A subscription that lasted so long makes the next wait the shortest one again. */
  stableMs: 10_000,
  /** What could not be made durable is tried again so often, where reading was not stopped for it. */
  resubmitMs: 1000,
  /** What happened once stays a warning for so long. Metrics keep it. */
  toldMs: 3_600_000
}

export type BridgeLimits = Readonly<typeof BRIDGE_LIMITS>
