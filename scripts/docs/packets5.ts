import { MALFORMED5, type Malformed5, REASON_OF_MALFORMED5 } from '../../broker/wire/v5/packet-error.ts'
import { type Section, toMarkdownTable } from './markdown.ts'

const CLOSED_FOR: Readonly<Record<Malformed5, string>> = {
  packet_type: 'type 0',
  packet_direction: 'a packet that only a server sends',
  header_flags: 'reserved bits of the fixed header',
  body_length: 'PINGREQ with a body',
  truncated: 'a packet, or its properties, that end within a field or lack one',
  trailing_bytes: 'bytes behind the last field',
  variable_integer: 'a variable byte integer of more bytes than it needs, or of more than four',
  text: 'a string with U+0000, a surrogate, an overlong form, or otherwise ill-formed UTF-8, in any field and property',
  packet_id: 'packet id 0',
  property_length: 'properties that are longer than their packet',
  property: 'a property that does not exist, is not allowed in this packet, or is sent only by a server',
  property_repeated: 'any property but a User Property twice',
  property_value: 'a flag other than 0 and 1; Receive Maximum, Maximum Packet Size or Subscription Identifier 0',
  connect_again: 'a second CONNECT',
  protocol_name: 'a name other than MQTT',
  protocol_level: 'a level other than 5',
  connect_flags: 'the reserved CONNECT flag',
  will_flags: 'will QoS or will retain without a will',
  will_qos: 'will QoS 3',
  authentication_data: 'Authentication Data without a method',
  authentication_missing: 'AUTH without an Authentication Method in CONNECT',
  payload_format: 'a will that is said to be UTF-8 and is not; a PUBLISH is answered 0x99 and the connection stays',
  publish_qos: 'QoS 3',
  publish_dup: 'DUP at QoS 0',
  topic_empty: 'a topic of zero length without an alias; a will topic, Response Topic or filter of zero length',
  topic_wildcard: 'a topic, will topic or Response Topic with a wildcard',
  topic_alias: 'alias 0, or one above the Topic Alias Maximum of CONNACK',
  topic_alias_unknown: 'an alias without a topic that this connection has not set',
  subscription_identifier: 'a Subscription Identifier in a PUBLISH',
  receive_maximum: 'more unacknowledged publishes of QoS 2 than CONNACK allowed',
  packet_size: 'a packet above the Maximum Packet Size of CONNACK',
  reason_code: 'a reason code that the packet cannot have, or that only a server sends in a DISCONNECT',
  filter_missing: 'SUBSCRIBE or UNSUBSCRIBE without a filter',
  filter_wildcard: 'a misplaced wildcard',
  share: '`$share/` without a name or a filter, or with a wildcard in its name',
  share_no_local: 'No Local on a shared subscription',
  subscription_options: 'reserved bits of the subscription options',
  requested_qos: 'a requested QoS of 3',
  retain_handling: 'Retain Handling 3',
  session_expiry: 'DISCONNECT with a session expiry, when CONNECT had none'
}

/** Packets that an MQTT 5 client may not send, by rule and clause, with the reason code of CONNACK or DISCONNECT. */
export function packets5Sections (): Section[] {
  const rows = Object.entries(MALFORMED5).map(([rule, clause]) => [
    `\`${rule}\``, clause, toCode(REASON_OF_MALFORMED5[rule as Malformed5]), CLOSED_FOR[rule as Malformed5]
  ])
  return [{ file: 'broker/README.md', name: 'packets5', text: toMarkdownTable(['rule', 'clause', 'code', 'closed for'], rows) }]
}

function toCode (reasonCode: number): string {
  return `0x${reasonCode.toString(16).toUpperCase().padStart(2, '0')}`
}
