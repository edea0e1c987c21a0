/** Every bound of the broker. What a client can make grow without one of these is a defect. */
export interface BrokerLimits {
  /** Largest packet of a client that has connected, fixed header included. */
  readonly packetBytesMax: number
  /** Largest CONNECT: Aedes itself would let a stranger announce 256 MiB. Ids, will and password together are far smaller. */
  readonly connectPacketBytesMax: number
  /** Sockets. Each costs about 20 KiB idle; stay below the usual `ulimit -n` of services, 32,768, with room for the database. */
  readonly connectionsMax: number
  /** From accept, or from a PROXY header, to the end of the TLS handshake: two round trips, with a slow radio between. */
  readonly handshakeTimeoutMs: number
  /** Handshakes under way; an elliptic one costs about 1 ms of processor and 50 KiB, so a reconnecting fleet of 5,000 fits. */
  readonly handshakesMax: number
  /** From accept to a whole PROXY header: proxies send it in their first packet. */
  readonly proxyHeaderTimeoutMs: number
  /** From accept to a whole CONNECT. */
  readonly connectTimeoutMs: number
  /** A subscriber whose socket took nothing for so long is closed. */
  readonly drainTimeoutMs: number
  /** Publishes of one client that wait for their verdict; beyond, its socket is not read, until half of them have left. */
  readonly heldMessagesPerClientMax: number
  /** The same in bytes: what is relayed waits behind what is stored, and ingest's own bound does not count it. */
  readonly heldBytesPerClientMax: number
  /** Unsent bytes of one subscriber; beyond, deliveries to it are dropped and counted, as Mosquitto does at its queue limit. */
  readonly subscriberBufferBytesMax: number
  /** Retained messages; beyond, a new one is delivered and not retained. One per device of a large site. */
  readonly retainedMessagesMax: number
  readonly retainedBytesMax: number
  /** Persistent sessions that hold subscriptions; beyond, a new one's subscriptions are refused with 0x80. */
  readonly sessionsMax: number
  /** A session lives so long after its client left; MQTT 3.1.1 lets it live for ever, which nobody's memory does. */
  readonly sessionExpiryMs: number
  /** Messages queued for one session, as Mosquitto's `max_queued_messages`; beyond, the newest is dropped and counted. */
  readonly queuedMessagesPerSessionMax: number
  /** All queues together. */
  readonly queuedBytesMax: number
  /** Packet ids of QoS 2 publishes between PUBREC and PUBREL, per client. A backlog is pipelined before the first PUBREL comes. */
  readonly inboundQos2PerClientMax: number
  /** The same over all clients; an id costs about 40 bytes. */
  readonly inboundQos2Max: number
  /** Characters of a client id or of a topic filter. */
  readonly clientIdLengthMax: number
  readonly filterLengthMax: number
  /** Levels of a relayed topic or a filter: qlobber, which matches them, throws beyond 100. */
  readonly topicLevelsMax: number
  readonly subscriptionsPerClientMax: number
  /** All clients together, live and kept for sessions counted apart; one costs about 500 bytes. */
  readonly subscriptionsMax: number
  /** Statistics below `$SYS/broker/`; Mosquitto's default `sys_interval`. */
  readonly statisticsIntervalMs: number
  /** How long `stop` waits for acknowledgements that the kernel has not taken yet. */
  readonly stopFlushMs: number
}

export const DEFAULT_LIMITS: BrokerLimits = {
  packetBytesMax: 256 * 1024,
  connectPacketBytesMax: 16 * 1024,
  connectionsMax: 20_000,
  handshakeTimeoutMs: 10_000,
  handshakesMax: 8_192,
  proxyHeaderTimeoutMs: 5_000,
  connectTimeoutMs: 10_000,
  drainTimeoutMs: 10_000,
  heldMessagesPerClientMax: 1000,
  heldBytesPerClientMax: 4 * 1024 * 1024,
  subscriberBufferBytesMax: 1024 * 1024,
  retainedMessagesMax: 100_000,
  retainedBytesMax: 64 * 1024 * 1024,
  sessionsMax: 10_000,
  sessionExpiryMs: 24 * 60 * 60 * 1000,
  queuedMessagesPerSessionMax: 1000,
  queuedBytesMax: 64 * 1024 * 1024,
  inboundQos2PerClientMax: 10_000,
  inboundQos2Max: 1_000_000,
  clientIdLengthMax: 1024,
  filterLengthMax: 1024,
  topicLevelsMax: 100,
  subscriptionsPerClientMax: 1000,
  subscriptionsMax: 200_000,
  statisticsIntervalMs: 10_000,
  stopFlushMs: 1000
}
