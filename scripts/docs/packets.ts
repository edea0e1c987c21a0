import { MALFORMED, type Malformed } from '../../broker/wire/rules.ts'
import { type Section, toMarkdownTable } from './markdown.ts'

const CLOSED_FOR: Readonly<Record<Malformed, string>> = {
  packet_type: 'a packet that only a server sends, or type 0 or 15',
  header_flags: 'reserved bits of the fixed header',
  body_length: 'PINGREQ or DISCONNECT with a body; PUBACK, PUBREC, PUBREL or PUBCOMP of other than two bytes',
  truncated: 'a packet that ends within a field, or lacks one',
  trailing_bytes: 'bytes behind the last field of a CONNECT',
  packet_id: 'packet id 0, in any packet that has one',
  text: 'a client id, user name, topic or filter with U+0000, a surrogate, an overlong form, or otherwise ' +
    'ill-formed UTF-8',
  connect_missing: 'another packet before CONNECT',
  connect_again: 'a second CONNECT',
  protocol_name: 'neither MQTT nor MQIsdp',
  protocol_level: 'a level below 5 that is neither MQTT 3.1.1 nor 3.1: **CONNACK 1**, then closed',
  connect_flags: 'the reserved CONNECT flag',
  will_flags: 'will QoS or will retain without a will',
  will_qos: 'will QoS 3',
  password_flag: 'a password without a user name',
  publish_qos: 'QoS 3',
  publish_dup: 'DUP at QoS 0',
  topic_empty: 'a topic, will topic or filter of zero length',
  topic_wildcard: 'a topic or will topic with a wildcard',
  filter_missing: 'SUBSCRIBE or UNSUBSCRIBE without a filter',
  filter_wildcard: 'a misplaced wildcard',
  requested_qos: 'a requested QoS above 2, or reserved bits beside it'
}

/** Packets that a client may not send, by rule and clause of MQTT 3.1.1. */
export function packetsSections (): Section[] {
  const rows = Object.entries(MALFORMED).map(([rule, clause]) => [`\`${rule}\``, clause, CLOSED_FOR[rule as Malformed]])
  return [{ file: 'broker/README.md', name: 'packets', text: toMarkdownTable(['rule', 'clause', 'closed for'], rows) }]
}
