import { type LimitName } from '../../broker/limit-hits.ts'
import { type BrokerLimits, DEFAULT_LIMITS } from '../../broker/limits.ts'
import { type Section, toCode, toMarkdownTable } from './markdown.ts'

interface Effect {
  /** Labels of `vital_mqtt_limit_hits_total`. */
  readonly countedAs: readonly LimitName[]
  /** What is bounded, and what happens beyond the bound. */
  readonly beyond: string
}

const counted = (beyond: string, ...countedAs: readonly LimitName[]): Effect => ({ countedAs, beyond })

/** The reasons are in `broker/limits.ts`. */
const EFFECTS: Readonly<Record<keyof BrokerLimits, Effect>> = {
  packetBytesMax: counted('a packet, or a length of more than four bytes: the connection is closed once earlier ' +
    'publishes are acknowledged',
  'packet_bytes', 'packet_length'),
  connectPacketBytesMax: counted('a CONNECT; closed', 'connect_bytes'),
  connectionsMax: counted('closed at once', 'connections'),
  connectionsPerAddressMax: counted('the same for one IPv4 address or IPv6 /64; not for loopback',
    'connections_per_address'),
  connectsPerSecondMax: counted('waits unread for its turn; turns go round by address', 'connects_per_second'),
  handshakeTimeoutMs: counted('a TLS handshake; closed'),
  handshakesMax: counted('TLS handshakes under way; closed'),
  handshakesPerAddressMax: counted('the same for one IPv4 address or IPv6 /64; not for loopback'),
  proxyHeaderTimeoutMs: counted('a PROXY header; closed'),
  connectTimeoutMs: counted('from its turn to the first byte, and from there to a whole CONNECT; closed',
    'connect_time'),
  authenticationTimeoutMs: counted('verification of credentials; closed without a CONNACK', 'authentication_time'),
  heldLoginsMax: counted('connections held while credentials cannot be verified; closed without a CONNACK',
    'held_logins'),
  heldLoginBytesMax: counted('the same in bytes', 'held_logins'),
  heldLoginTimeoutMs: counted('one of them; closed without a CONNACK'),
  failedLoginsOfName: counted('CONNACK 5 comes later with each refusal; the answer to a right credential is never ' +
    'delayed', 'failed_logins'),
  failedLoginsOfAddress: counted('the same', 'failed_logins'),
  takeoversOfClientId: counted('the new connection waits; the old one stays meanwhile', 'takeovers'),
  keepaliveSecondsMax: counted('silent for 1.5 times its keepalive, or this: closed', 'keepalive'),
  messagesPerSecondMax: counted('not read for a while; a burst of 2 s is free. A PINGREQ, SUBSCRIBE or ' +
    'UNSUBSCRIBE counts as twenty, ' +
    'or as a tenth of the limit where that is less', 'messages_per_second'),
  bytesPerSecondMax: counted('the same', 'bytes_per_second'),
  drainTimeoutMs: counted('a subscriber whose socket takes nothing for this time; closed'),
  heldMessagesPerClientMax: counted('publishes that wait to be stored; the next PUBLISH is not read until half of ' +
    'them have left', 'held'),
  heldBytesPerClientMax: counted('the same in bytes', 'held'),
  subscriberBufferBytesMax: counted('unsent bytes; further deliveries of QoS 0 are dropped, and those of QoS 1 ' +
    'and 2 to a clean session',
  'subscriber_buffer'),
  retainedMessagesMax: counted('delivered, not retained', 'retained'),
  retainedBytesMax: counted('the same', 'retained'),
  sessionsMax: counted('sessions with subscriptions; the subscriptions of a new one get 0x80', 'sessions'),
  sessionExpiryMs: counted('a session whose client has been away for this time is deleted'),
  inFlightMessagesPerSessionMax: counted('sent to one session and not acknowledged; further ones are queued. A Receive ' +
    'Maximum of MQTT 5 may be less. A delivery beyond its Maximum Packet Size is dropped', 'delivery_bytes'),
  queuedMessagesPerSessionMax: counted('the newest is dropped for that session', 'queue'),
  queuedBytesPerSessionMax: counted('the same in bytes, deliveries in flight included', 'queue'),
  queuedBytesMax: counted('all sessions together; at the bound they share it evenly: those above their share lose their ' +
    'newest messages', 'queue'),
  inboundQos2PerClientMax: counted('QoS 2 publishes without PUBREL; closed', 'qos2_in_flight'),
  inboundQos2Max: counted('the same, all clients together', 'qos2_in_flight'),
  clientIdLengthMax: counted('CONNACK 2'),
  topicLengthMax: counted('a relayed topic; closed. Below `vital/` it becomes a dead letter', 'topic_length'),
  filterLengthMax: counted('0x80', 'filter'),
  topicLevelsMax: counted('closed; a filter gets 0x80', 'topic_levels', 'filter'),
  subscriptionsPerClientMax: counted('0x80', 'subscriptions_per_client'),
  subscriptionsMax: counted('0x80', 'subscriptions'),
  subscriptionLevelsMax: counted('levels of all filters together; 0x80', 'subscriptions'),
  topicAliasesPerClientMax: counted('an alias beyond it, or one without a topic: DISCONNECT 0x94 or 0x82', 'topic_alias'),
  delayedWillsMax: counted('wills of MQTT 5 that wait for their delay; published at once', 'delayed_wills'),
  delayedWillBytesMax: counted('the same in bytes', 'delayed_wills'),
  statisticsIntervalMs: counted('how often `$SYS/broker/…` is published'),
  stopFlushMs: counted('how long a stop waits for acknowledgements to leave')
}

/** Every bound of the broker, with its default. */
export function limitsSections (): Section[] {
  const rows = Object.entries(DEFAULT_LIMITS).map(([name, value]: [string, BrokerLimits[keyof BrokerLimits]]) => {
    const { countedAs, beyond } = EFFECTS[name as keyof BrokerLimits]
    const byDefault = typeof value === 'number'
      ? String(value)
      : `${value.freeMax} free, then ${value.delayMs} to ${value.delayMsMax}, forgotten after ${value.forgetMs}, ` +
        `${value.keysMax} keys`
    return [`\`${name}\``, byDefault, toCode(countedAs), beyond]
  })
  const table = toMarkdownTable(['limit', 'default', 'counted as', 'beyond'], rows, ['left', 'right'])
  return [{ file: 'broker/README.md', name: 'limits', text: table }]
}

/** Limits that are counted and have no row in the table. */
export function limitsWithoutRow (names: readonly LimitName[]): LimitName[] {
  const told = new Set(Object.values(EFFECTS).flatMap(({ countedAs }) => countedAs))
  return names.filter((name) => !told.has(name))
}
