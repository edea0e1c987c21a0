/** The rules that packets of an MQTT 5 client must keep, and the reason code for a packet that breaks one. */
import { REASONS5, type ReasonCode5 } from './reason-codes.ts'

/** Every rule by name, and the clause of MQTT 5 that it stands for. */
export const MALFORMED5 = {
  packet_type: '§2.1.2',
  packet_direction: '§2.1.2',
  header_flags: 'MQTT-2.1.3-1',
  body_length: '§2.1.4',
  truncated: '§2.1.4',
  trailing_bytes: '§2.1.4',
  variable_integer: 'MQTT-1.5.5-1',
  text: 'MQTT-1.5.4-1, MQTT-1.5.4-2, MQTT-1.5.7-1',
  packet_id: 'MQTT-2.2.1-3',
  property_length: '§2.2.2.1',
  property: '§2.2.2.2',
  property_repeated: '§3.1.2.11, §3.1.3.2, §3.3.2.3, §3.4.2.2, §3.8.2.1, §3.14.2.2',
  property_value: '§3.1.2.11, §3.3.2.3, §3.8.2.1',
  connect_again: 'MQTT-3.1.0-2',
  protocol_name: 'MQTT-3.1.2-1',
  protocol_level: 'MQTT-3.1.2-2',
  connect_flags: 'MQTT-3.1.2-3',
  will_flags: 'MQTT-3.1.2-11, MQTT-3.1.2-13',
  will_qos: 'MQTT-3.1.2-12',
  authentication_data: '§3.1.2.11.10',
  authentication_missing: 'MQTT-4.12.0-7',
  payload_format: '§3.1.3.2.3, §3.3.2.3.2',
  publish_qos: 'MQTT-3.3.1-4',
  publish_dup: 'MQTT-3.3.1-2',
  topic_empty: 'MQTT-4.7.3-1',
  topic_wildcard: 'MQTT-4.7.0-1, MQTT-3.3.2-2, MQTT-3.3.2-14',
  topic_alias: 'MQTT-3.3.2-8, MQTT-3.3.2-9',
  topic_alias_unknown: '§3.3.2.3.4',
  subscription_identifier: 'MQTT-3.3.4-6',
  receive_maximum: 'MQTT-3.3.4-7',
  packet_size: 'MQTT-3.2.2-15',
  reason_code: 'MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1, MQTT-3.14.2-1',
  filter_missing: 'MQTT-3.8.3-2, MQTT-3.10.3-2',
  filter_wildcard: 'MQTT-4.7.1-1, MQTT-4.7.1-2',
  share: 'MQTT-4.8.2-1, MQTT-4.8.2-2',
  share_no_local: 'MQTT-3.8.3-4',
  subscription_options: 'MQTT-3.8.3-5',
  requested_qos: '§3.8.3.1',
  retain_handling: '§3.8.3.1',
  session_expiry: '§3.14.2.2.2'
} as const

export type Malformed5 = keyof typeof MALFORMED5

const { malformedPacket, protocolError, unsupportedProtocolVersion } = REASONS5

/**
 * The reason code for each rule. The clause's own code where it names one. Otherwise 0x81 for bytes that cannot be parsed,
 * and 0x82 for a packet that was parsed and holds what is not allowed (§1.2). Topics and filters that break the grammar of
 * §4.7 and §4.8.2 are of the former: 0x8F and 0x90 are for "correctly formed" ones that a server does not accept (§3.14.2.1).
 */
export const REASON_OF_MALFORMED5: Readonly<Record<Malformed5, ReasonCode5>> = {
  packet_type: malformedPacket,
  packet_direction: protocolError,
  header_flags: malformedPacket,
  body_length: malformedPacket,
  truncated: malformedPacket,
  trailing_bytes: malformedPacket,
  variable_integer: malformedPacket,
  text: malformedPacket,
  packet_id: protocolError,
  property_length: malformedPacket,
  property: malformedPacket,
  property_repeated: protocolError,
  property_value: protocolError,
  connect_again: protocolError,
  protocol_name: unsupportedProtocolVersion,
  protocol_level: unsupportedProtocolVersion,
  connect_flags: malformedPacket,
  will_flags: malformedPacket,
  will_qos: malformedPacket,
  authentication_data: protocolError,
  authentication_missing: protocolError,
  payload_format: REASONS5.payloadFormatInvalid,
  publish_qos: malformedPacket,
  publish_dup: malformedPacket,
  topic_empty: protocolError,
  topic_wildcard: malformedPacket,
  topic_alias: REASONS5.topicAliasInvalid,
  topic_alias_unknown: protocolError,
  subscription_identifier: protocolError,
  receive_maximum: REASONS5.receiveMaximumExceeded,
  packet_size: REASONS5.packetTooLarge,
  reason_code: protocolError,
  filter_missing: protocolError,
  filter_wildcard: malformedPacket,
  share: malformedPacket,
  share_no_local: protocolError,
  subscription_options: malformedPacket,
  requested_qos: protocolError,
  retain_handling: protocolError,
  session_expiry: protocolError
}

/**
 * A packet breaks a rule. CONNACK or DISCONNECT answers it with the reason code (§4.13.1), then the connection is closed.
 * The message holds nothing that the client sent.
 */
export class PacketError extends Error {
  readonly reasonCode: ReasonCode5
  readonly rule: Malformed5

  constructor (rule: Malformed5) {
    super(`${rule} (${MALFORMED5[rule]})`)
    this.name = 'PacketError'
    this.rule = rule
    this.reasonCode = REASON_OF_MALFORMED5[rule]
  }
}
