/** Bounds of the bridge, with their reasons. */
export const BRIDGE_LIMITS = {
  /**
   * Messages that the broker may send before the first of them is acknowledged (Receive Maximum): four batches, less
   * than the bound of ingest's buffer. Beyond it the socket is not read.
   */
  receiveMaximum: 8192,
  /** Bytes of payloads that are not acknowledged; beyond it the socket is not read. */
  heldBytesMax: 16 * 1024 * 1024,
  /**
   * After this time the broker drops the session of an absent member, and the messages in it: more than a long weekend.
   */
  sessionExpiryS: 7 * 86_400,
  /** A broker that sends nothing for one and a half times this time is considered gone. */
  keepAliveS: 30,
  /** For TCP, TLS and CONNACK together. */
  connectTimeoutMs: 10_000,
  /** How long the start waits for the first subscription. Attempts continue after it. */
  startWaitMs: 5000,
  /**
   * Wait after a failure. It doubles each time, minus up to half by chance, so that members do not return all at once.
   */
  retryMsMin: 200,
  retryMsMax: 30_000,
  /** A subscription that lasted this long resets the wait to the shortest one. */
  stableMs: 10_000,
  /** Interval at which messages that could not be made durable are tried again while reading goes on. */
  resubmitMs: 1000,
  /** How long an event stays a warning. Metrics keep counting it. */
  toldMs: 3_600_000
}

export type BridgeLimits = Readonly<typeof BRIDGE_LIMITS>
