/** Every limit of the HTTP side that is not configurable, with its reason. */
export const HTTP_LIMITS = {
  /** Twice the usual idle time of a proxy; a silent device costs a socket no longer than this. */
  keepAliveTimeoutMs: 65_000,
  /**
   * With the interval below 30 s: a whole request must have arrived by then, so a client that trickles bytes cannot
   * hold a buffer.
   */
  requestTimeoutMs: 29_000,
  /** The same for its headers, 10 s. */
  headersTimeoutMs: 9_000,
  /** How often Node looks for requests past the two limits above; they are late by it. Node's default is 30 s. */
  connectionsCheckingIntervalMs: 1_000,
  /**
   * A socket without a byte in either direction: a client that does not read its answer. An answer held longer is given
   * up.
   */
  connectionTimeoutMs: 120_000,
  /**
   * A whole answer up to half a megabyte, or the next 64 KiB of a larger one: 17 KB/s. The memory of a reader that
   * stops is freed after this time.
   */
  answerTimeoutMs: 30_000,
  /** Node's default, stated: a device id needs 1.5 KiB of it at most. */
  headerBytesMax: 16_384,
  /** 128 code points of four UTF-8 bytes, each byte percent-encoded in three characters. */
  paramLengthMax: 128 * 4 * 3,
  /**
   * From accept to the end of the TLS handshake: two round trips, with a slow radio between. Node's default is two
   * minutes.
   */
  handshakeTimeoutMs: 10_000,
  /** As for MQTT over TCP. */
  tcpKeepAliveDelayMs: 60_000,
  /** Connections that the kernel keeps while the loop is busy: as many as may be served. */
  backlogMax: 4_096,
  /**
   * WebSockets do not count: they are the broker's connections. Bodies still arriving are in memory, `bodyBytesMax`
   * each, before ingest can count them.
   */
  connectionsMax: 4_096,
  /**
   * Requests of one connection that wait for their answers; one more closes it. Node hands over all requests of a read
   * at once, 1,800 of the smallest in 64 KiB, and nothing else runs meanwhile: five connections that pipelined `GET
   * /docs/json` held up every acknowledgement for half a minute.
   */
  pipelinedRequestsMax: 32,
  /** Principals and addresses whose rate is kept, about 150 bytes each. */
  rateLimitKeysMax: 20_000,
  /** Requests with a bad credential, of one address: a typing error stays below it, guessing does not. */
  badCredentialsPerSecondMax: 5,
  badCredentialsBurst: 20,
  /**
   * Time for open answers at `stop`, a little more than ingest takes to drain; then devices must send again.
   */
  stopTimeoutMs: 12_000,
  /** Keep-alive sockets that fall idle during `stop` are closed at this interval. */
  stopSweepIntervalMs: 50
} as const

/** `Retry-After` in seconds: long enough for a batch to drain. */
export const RETRY_AFTER_OVERLOADED_S = 1

/** `Retry-After` in seconds: PostgreSQL needs about this long to restart. */
export const RETRY_AFTER_UNAVAILABLE_S = 5
