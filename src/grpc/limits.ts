/** Every bound of gRPC that cannot be configured, with its reason. */
export const GRPC_LIMITS = {
  /** As of HTTP. Each is a descriptor; a device keeps one. */
  connectionsMax: 4_096,
  /** Streams and calls of one connection: a proxy brings many clients over one. gRPC servers commonly allow as many. */
  callsPerConnectionMax: 100,
  /**
   * Calls under way, streams included. Each may hold an incomplete request in memory: up to `requestBytesMax`, and the
   * bytes that were read behind it.
   */
  callsMax: 4_096,
  /** Calls of the health service, which needs no credentials; `Watch` stays open. */
  healthCallsMax: 256,
  /**
   * Requests of one stream that are unanswered; the next one is not read. Enough for a device that sends one reading a
   * request at full speed, and too few to fill a client's own window of answers.
   */
  unansweredMax: 1_024,
  /** The same in bytes of answers that the client has not read: an answer may list a hundred faults. */
  unsentBytesMax: 64 * 1024,
  /**
   * Largest message that the library takes, as a multiple of the largest request. A larger request than ours is
   * answered REJECTED. Beyond this the library, which holds messages whole, ends the stream with RESOURCE_EXHAUSTED.
   */
  messageBytesFactor: 4,
  /** Requests after which a stream whose rate is limited is read again, at once. */
  messagesAtOnce: 100,
  /** As for MQTT over TCP: connections that the kernel keeps while the loop is busy. */
  backlogMax: 4_096,
  tcpKeepAliveDelayMs: 60_000,
  /** A peer that vanished without a FIN is pinged after this time, and closed when it does not answer. */
  pingIntervalMs: 60_000,
  pingTimeoutMs: 20_000,
  /** A connection without a call is closed; a device that sends once a minute keeps its own. */
  idleTimeoutMs: 300_000,
  /** Memory of one connection in nghttp2, in MB as Node counts: Node's default, which the library would lift. */
  sessionMemoryMb: 10,
  /** Interval of the checks for expired credentials and for changes of readiness. */
  checkIntervalMs: 1_000,
  /** Time for a client to read the end of its call; then its stream is reset. */
  endMs: 1_000
} as const
