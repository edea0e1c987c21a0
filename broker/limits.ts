import type { GrowingDelayLimits } from './connect/growing-delay.ts'

/** Every bound of the broker. Memory that a client can make grow without one of these is a defect. */
export interface BrokerLimits {
  /** Largest packet of a client that has connected, fixed header included. */
  readonly packetBytesMax: number
  /**
   * Largest CONNECT: Aedes would let a client announce 256 MiB before it is authenticated. Ids, will and password
   * together are far smaller.
   */
  readonly connectPacketBytesMax: number
  /**
   * Sockets. Each costs about 20 KiB idle; stay below the usual `ulimit -n` of services, 32,768, with room for the
   * database.
   */
  readonly connectionsMax: number
  /**
   * Sockets of one IPv4 address or one IPv6 network of 64 bits: a hospital behind one address fits with 10,000 devices,
   * and one address cannot take all sockets. Not for loopback: proxies and tunnels end there.
   */
  readonly connectionsPerAddressMax: number
  /**
   * Beyond, a connection waits for its turn, unread; 5,000 that come back at once are all in after 5 s. 0: no limit.
   */
  readonly connectsPerSecondMax: number
  /**
   * From accept, or from a PROXY header, to the end of the TLS handshake: two round trips, with a slow radio between.
   */
  readonly handshakeTimeoutMs: number
  /**
   * Handshakes under way; an elliptic one costs about 1 ms of processor and 50 KiB, so a reconnecting fleet of 5,000
   * fits.
   */
  readonly handshakesMax: number
  /**
   * Handshakes of one address, as `connectionsPerAddressMax` counts it: silent ones must not keep others out. Not for
   * loopback.
   */
  readonly handshakesPerAddressMax: number
  /** From accept to a whole PROXY header: proxies send it in their first packet. */
  readonly proxyHeaderTimeoutMs: number
  /** From a connection's turn to its first byte, and from there to a whole CONNECT. */
  readonly connectTimeoutMs: number
  /**
   * Longest that credentials are verified; then the connection is closed without a CONNACK. A thousand argon2id
   * passwords take two cores about 25 s.
   */
  readonly authenticationTimeoutMs: number
  /** Connections held while their credentials cannot be verified: a fleet that comes back while PostgreSQL is away. */
  readonly heldLoginsMax: number
  /** The same in bytes: their CONNECT packets, and the bytes behind them. */
  readonly heldLoginBytesMax: number
  /**
   * Longest that one is held. MQTT.js gives up on a CONNACK after 30 s; closed before that, it comes back a second
   * later.
   */
  readonly heldLoginTimeoutMs: number
  /**
   * Refused logins of one name. A device that was given a wrong secret costs little, and a right one is never delayed.
   */
  readonly failedLoginsOfName: GrowingDelayLimits
  /** Refused logins of one address, which a whole ward may share. */
  readonly failedLoginsOfAddress: GrowingDelayLimits
  /** Takeovers of one client id. A device on a bad network takes over from itself now and then. */
  readonly takeoversOfClientId: GrowingDelayLimits
  /**
   * A client that is silent for 1.5 times its keepalive is closed. A client without a keepalive, or with a longer one,
   * gets this.
   */
  readonly keepaliveSecondsMax: number
  /**
   * Of one connection, averaged over 2 s: PUBLISH, and SUBSCRIBE, UNSUBSCRIBE and PINGREQ as up to twenty each. Beyond,
   * it is not read for a while. Far above any device, and a tenth of what the gateway stores. 0: no limit.
   */
  readonly messagesPerSecondMax: number
  /** The same in bytes: 5,000 usual readings. A payload of 200 KiB takes 3 ms of the event loop and 5 of PostgreSQL. */
  readonly bytesPerSecondMax: number
  /** A subscriber whose socket has taken nothing for this long is closed. */
  readonly drainTimeoutMs: number
  /**
   * Publishes of one client that wait for their verdict; beyond, its socket is not read, until half of them have left.
   */
  readonly heldMessagesPerClientMax: number
  /**
   * The same in bytes: relayed publishes wait behind those that are stored, and ingest's own bound does not count them.
   */
  readonly heldBytesPerClientMax: number
  /**
   * Unsent bytes of one subscriber; beyond, deliveries to it are dropped and counted, as by Mosquitto at its queue
   * limit.
   */
  readonly subscriberBufferBytesMax: number
  /** Retained messages; beyond, a new one is delivered and not retained. One per device of a large site. */
  readonly retainedMessagesMax: number
  readonly retainedBytesMax: number
  /** Persistent sessions that hold subscriptions; beyond, a new one's subscriptions are refused with 0x80. */
  readonly sessionsMax: number
  /** How long a session outlives its connection; MQTT 3.1.1 would keep it for ever, in unbounded memory. */
  readonly sessionExpiryMs: number
  /**
   * Deliveries of one session that are sent and not acknowledged; the next ones wait in its queue. More than a batch of
   * readings brings at once.
   */
  readonly inFlightMessagesPerSessionMax: number
  /**
   * Messages queued for one session, as Mosquitto's `max_queued_messages`; beyond, the newest is dropped and counted.
   */
  readonly queuedMessagesPerSessionMax: number
  /** The same in bytes, so that one absent client cannot fill the memory that all share. */
  readonly queuedBytesPerSessionMax: number
  /** All sessions together, which share it evenly at the bound (session/delivery-memory.ts). */
  readonly queuedBytesMax: number
  /**
   * Packet ids of QoS 2 publishes between PUBREC and PUBREL, per client. A backlog is pipelined before the first PUBREL
   * comes.
   */
  readonly inboundQos2PerClientMax: number
  /** The same over all clients; an id costs about 40 bytes. */
  readonly inboundQos2Max: number
  /** Characters of a client id, of a relayed topic, or of a topic filter. */
  readonly clientIdLengthMax: number
  readonly topicLengthMax: number
  readonly filterLengthMax: number
  /** Levels of a relayed topic or a filter: Aedes' own bound, and those of a filter are levels of a tree in memory. */
  readonly topicLevelsMax: number
  readonly subscriptionsPerClientMax: number
  /** All clients together, live and kept for sessions counted apart; one costs about 500 bytes. */
  readonly subscriptionsMax: number
  /**
   * Levels of all their filters together, counted in the same way. Each costs 210 to 250 bytes, and a filter of 100
   * levels 20 KiB.
   */
  readonly subscriptionLevelsMax: number
  /** Topic aliases that a client of MQTT 5 may use for its publishes; 0: none. Each costs the topic and 100 bytes. */
  readonly topicAliasesPerClientMax: number
  /** Wills that wait for their Will Delay Interval; beyond, a will is published at once. Each holds its connection. */
  readonly delayedWillsMax: number
  /** The same in bytes: of 16 KiB each, all of them would be 160 MiB. */
  readonly delayedWillBytesMax: number
  /** Statistics below `$SYS/broker/`; Mosquitto's default `sys_interval`. */
  readonly statisticsIntervalMs: number
  /** How long `stop` waits for acknowledgements that the kernel has not taken yet. */
  readonly stopFlushMs: number
}

export const DEFAULT_LIMITS: BrokerLimits = {
  packetBytesMax: 256 * 1024,
  connectPacketBytesMax: 16 * 1024,
  connectionsMax: 20_000,
  connectionsPerAddressMax: 10_000,
  connectsPerSecondMax: 1000,
  handshakeTimeoutMs: 10_000,
  handshakesMax: 8_192,
  handshakesPerAddressMax: 2_048,
  proxyHeaderTimeoutMs: 5_000,
  connectTimeoutMs: 10_000,
  authenticationTimeoutMs: 60_000,
  heldLoginsMax: 5000,
  heldLoginBytesMax: 32 * 1024 * 1024,
  heldLoginTimeoutMs: 25_000,
  failedLoginsOfName: { freeMax: 5, delayMs: 250, delayMsMax: 8000, forgetMs: 60_000, keysMax: 20_000 },
  failedLoginsOfAddress: { freeMax: 50, delayMs: 250, delayMsMax: 8000, forgetMs: 60_000, keysMax: 20_000 },
  takeoversOfClientId: { freeMax: 5, delayMs: 500, delayMsMax: 8000, forgetMs: 60_000, keysMax: 20_000 },
  keepaliveSecondsMax: 3600,
  messagesPerSecondMax: 5000,
  bytesPerSecondMax: 1024 * 1024,
  drainTimeoutMs: 10_000,
  heldMessagesPerClientMax: 1000,
  heldBytesPerClientMax: 4 * 1024 * 1024,
  subscriberBufferBytesMax: 1024 * 1024,
  retainedMessagesMax: 100_000,
  retainedBytesMax: 64 * 1024 * 1024,
  sessionsMax: 10_000,
  sessionExpiryMs: 24 * 60 * 60 * 1000,
  inFlightMessagesPerSessionMax: 10_000,
  queuedMessagesPerSessionMax: 1000,
  queuedBytesPerSessionMax: 8 * 1024 * 1024,
  queuedBytesMax: 64 * 1024 * 1024,
  inboundQos2PerClientMax: 10_000,
  inboundQos2Max: 1_000_000,
  clientIdLengthMax: 1024,
  topicLengthMax: 1024,
  filterLengthMax: 1024,
  topicLevelsMax: 100,
  subscriptionsPerClientMax: 1000,
  subscriptionsMax: 200_000,
  subscriptionLevelsMax: 500_000,
  topicAliasesPerClientMax: 0,
  delayedWillsMax: 10_000,
  delayedWillBytesMax: 32 * 1024 * 1024,
  statisticsIntervalMs: 10_000,
  stopFlushMs: 1000
}
