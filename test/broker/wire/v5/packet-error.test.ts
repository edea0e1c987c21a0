/** Every rule for packets of a client of MQTT 5, with the reason code at a violation. */
import t from 'tap'
import { MALFORMED5, type Malformed5, PacketError } from '../../../../broker/wire/v5/packet-error.ts'
import type { ReasonCode5 } from '../../../../broker/wire/v5/reason-codes.ts'
import { counted, decode5, field, ILL_FORMED, packet, type Part } from '../../../helpers/mqtt-bytes.ts'

const NONE = [0]
const user = (key: string | Buffer = 'k', value: string | Buffer = 'v') => Buffer.concat([Buffer.from([0x26]), field(key), field(value)])
const text = (id: number, value: string | Buffer) => Buffer.concat([Buffer.from([id]), field(value)])

const connectAs = (level: number, flags: number, properties: Part, ...payload: Part[]) =>
  packet(0x10, field('MQTT'), [level, flags, 0, 60], properties, ...payload)
const connect = (flags: number, ...payload: Part[]) => connectAs(5, flags, NONE, ...payload)
/** A CONNECT with properties. */
const connecting = (...properties: Part[]) => connectAs(5, 2, counted(...properties), field('a'))
/** A CONNECT with properties of its will. */
const willing = (properties: Part, payload: string | Buffer = 'x') =>
  connect(0x06, field('a'), properties, field('vital/a'), field(payload))
const publish = (firstByte: number, topic: string | Buffer, properties: Part = NONE, payload: string | Buffer = '{}') =>
  packet(firstByte, field(topic), ...((firstByte & 6) === 0 ? [] : [[0, 9]]), properties, Buffer.from(payload))
const publishing = (...properties: Part[]) => publish(0x32, 'vital/a', counted(...properties))
const subscribe = (...rest: Part[]) => packet(0x82, [0, 9], NONE, ...rest)
const subscribing = (...properties: Part[]) => packet(0x82, [0, 9], counted(...properties), field('a'), [0])
const unsubscribe = (...rest: Part[]) => packet(0xa2, [0, 9], NONE, ...rest)
const acknowledging = (...properties: Part[]) => packet(0x40, [0, 9, 0], counted(...properties))
const disconnecting = (...properties: Part[]) => packet(0xe0, [0], counted(...properties))

/** Properties that a client may send, each with two values. */
const ONCE: Record<string, { readonly of: ReadonlyArray<(...properties: Part[]) => Buffer>, readonly values: readonly [Part, Part] }> = {
  'Payload Format Indicator': { of: [publishing, willOf], values: [[0x01, 0], [0x01, 1]] },
  'Message Expiry Interval': { of: [publishing, willOf], values: [[0x02, 0, 0, 0, 1], [0x02, 0, 0, 0, 2]] },
  'Content Type': { of: [publishing, willOf], values: [text(0x03, 'a'), text(0x03, '')] },
  'Response Topic': { of: [publishing, willOf], values: [text(0x08, 'a'), text(0x08, 'b')] },
  'Correlation Data': { of: [publishing, willOf], values: [text(0x09, 'a'), text(0x09, '')] },
  'Subscription Identifier': { of: [subscribing], values: [[0x0b, 1], [0x0b, 2]] },
  'Session Expiry Interval': { of: [connecting, disconnecting], values: [[0x11, 0, 0, 0, 0], [0x11, 0, 0, 0, 1]] },
  'Authentication Method': { of: [connecting], values: [text(0x15, 'a'), text(0x15, 'b')] },
  'Request Problem Information': { of: [connecting], values: [[0x17, 0], [0x17, 1]] },
  'Will Delay Interval': { of: [willOf], values: [[0x18, 0, 0, 0, 1], [0x18, 0, 0, 0, 0]] },
  'Request Response Information': { of: [connecting], values: [[0x19, 0], [0x19, 1]] },
  'Reason String': { of: [acknowledging, disconnecting], values: [text(0x1f, ''), text(0x1f, 'a')] },
  'Server Reference': { of: [disconnecting], values: [text(0x1c, 'a'), text(0x1c, 'b')] },
  'Receive Maximum': { of: [connecting], values: [[0x21, 0, 1], [0x21, 0, 2]] },
  'Topic Alias Maximum': { of: [connecting], values: [[0x22, 0, 0], [0x22, 0, 1]] },
  'Topic Alias': { of: [publishing], values: [[0x23, 0, 1], [0x23, 0, 2]] },
  'Maximum Packet Size': { of: [connecting], values: [[0x27, 0, 0, 0, 1], [0x27, 0, 0, 0, 2]] }
}

function willOf (...properties: Part[]): Buffer {
  return willing(counted(...properties))
}

const CARRIERS = {
  CONNECT: connecting,
  will: willOf,
  PUBLISH: publishing,
  PUBACK: acknowledging,
  SUBSCRIBE: subscribing,
  UNSUBSCRIBE: (...properties: Part[]) => packet(0xa2, [0, 9], counted(...properties), field('a')),
  DISCONNECT: disconnecting
} as const

/** Values of properties that only a server sends. */
const OF_SERVER: readonly Part[] = [
  text(0x12, 'a'), [0x13, 0, 1], text(0x1a, 'a'), [0x24, 1], [0x25, 1], [0x28, 1], [0x29, 1], [0x2a, 1]
]

interface Case { readonly what: string, readonly breaks: Malformed5, readonly reasonCode: ReasonCode5, readonly bytes: Buffer }

const of = (breaks: Malformed5, reasonCode: ReasonCode5, cases: Record<string, Buffer>): Case[] =>
  Object.entries(cases).map(([what, bytes]) => ({ what, breaks, reasonCode, bytes }))

const WILL = [NONE, field('vital/a'), field('x')]

const CASES: readonly Case[] = [
  ...of('packet_type', 0x81, { 'type 0': packet(0x00), 'type 0 with flags': packet(0x0f) }),
  ...of('packet_direction', 0x82, {
    CONNACK: packet(0x20, [0, 0, 0]),
    SUBACK: packet(0x90, [0, 9, 0, 0]),
    UNSUBACK: packet(0xb0, [0, 9, 0, 0]),
    PINGRESP: packet(0xd0)
  }),
  ...of('header_flags', 0x81, {
    CONNECT: packet(0x11, connect(2, field('a')).subarray(2)),
    PUBACK: packet(0x42, [0, 9]),
    PUBREC: packet(0x51, [0, 9]),
    PUBREL: packet(0x60, [0, 9]),
    'PUBREL with a flag more': packet(0x63, [0, 9]),
    PUBCOMP: packet(0x74, [0, 9]),
    SUBSCRIBE: packet(0x80, [0, 9, 0], field('a'), [0]),
    UNSUBSCRIBE: packet(0xa0, [0, 9, 0], field('a')),
    PINGREQ: packet(0xc1),
    DISCONNECT: packet(0xe8),
    AUTH: packet(0xf1)
  }),
  ...of('body_length', 0x81, { PINGREQ: packet(0xc0, [0]) }),
  ...of('publish_qos', 0x81, { 'QoS 3': publish(0x36, 'vital/a'), 'QoS 3, retained': publish(0x37, 'vital/a') }),
  ...of('publish_dup', 0x81, { 'DUP at QoS 0': publish(0x38, 'vital/a'), 'DUP at QoS 0, retained': publish(0x39, 'vital/a') }),
  ...of('truncated', 0x81, {
    'CONNECT without a body': packet(0x10),
    'CONNECT without a level': packet(0x10, field('MQTT')),
    'CONNECT without a keepalive': packet(0x10, field('MQTT'), [5, 2, 0]),
    'CONNECT without properties': packet(0x10, field('MQTT'), [5, 2, 0, 60]),
    'CONNECT without a client id': connect(2),
    'CONNECT with half a client id': connect(2, [0, 2], Buffer.from('a')),
    'CONNECT without will properties': connect(6, field('a')),
    'CONNECT without a will payload': connect(6, field('a'), NONE, field('vital/a')),
    'CONNECT without its user name': connect(0x82, field('a')),
    'CONNECT without its password': connect(0xc2, field('a'), field('u')),
    'CONNECT with a property cut short': connecting([0x11, 0, 0, 0]),
    'a will property cut short': willOf([0x18, 0]),
    'PUBLISH without a body': packet(0x30),
    'PUBLISH whose topic is longer than it': packet(0x32, [0, 200], Buffer.from('vital/a')),
    'PUBLISH without a packet id': packet(0x32, field('vital/a')),
    'PUBLISH with half a packet id': packet(0x34, field('vital/a'), [0]),
    'PUBLISH without properties': packet(0x32, field('vital/a'), [0, 9]),
    'PUBLISH without properties, QoS 0': packet(0x30, field('vital/a')),
    'PUBLISH with half a property length': packet(0x30, field('vital/a'), [0x80]),
    'a user property without a value': publishing([0x26], field('k')),
    'a user property whose value runs over the property length': publish(0x30, 'a', [5, 0x26, 0, 1, 0x6b, 0], '\0\0'),
    'a text that runs over the property length': publish(0x30, 'a', [3, 0x03, 0, 2], 'ab'),
    'a number that runs over the property length': publish(0x30, 'a', [2, 0x02, 0], '\0\0\0'),
    'SUBSCRIBE without a packet id': packet(0x82, [0]),
    'SUBSCRIBE without properties': packet(0x82, [0, 9]),
    'SUBSCRIBE without options': subscribe(field('a')),
    'SUBSCRIBE with half a filter': subscribe([0, 2], Buffer.from('a')),
    'UNSUBSCRIBE with a byte behind': unsubscribe(field('a'), [0]),
    'PUBACK without a body': packet(0x40),
    'PUBREL with half a packet id': packet(0x62, [0])
  }),
  ...of('trailing_bytes', 0x81, {
    'CONNECT with a byte behind': connect(2, field('a'), [0]),
    'a password without its flag': connect(0x82, field('a'), field('u'), field('p')),
    'PUBACK with a byte behind its properties': packet(0x40, [0, 9, 0, 0, 0]),
    'PUBREL with a byte behind its properties': packet(0x62, [0, 9, 0, 0, 1]),
    'DISCONNECT with a byte behind its properties': packet(0xe0, [0, 0, 0])
  }),
  ...of('variable_integer', 0x81, {
    'a property length of 0 in two bytes': publish(0x30, 'a', [0x80, 0]),
    'a property length of 5 in three bytes': publish(0x30, 'a', Buffer.concat([Buffer.from([0x87, 0x80, 0]), user()])),
    'a property length in five bytes': publish(0x30, 'a', [0x80, 0x80, 0x80, 0x80, 1]),
    'CONNECT: a property length of 0 in two bytes': connectAs(5, 2, [0x80, 0], field('a')),
    'a subscription identifier of 1 in two bytes': subscribing([0x0b, 0x81, 0]),
    'a subscription identifier in five bytes': subscribing([0x0b, 0xff, 0xff, 0xff, 0xff, 1]),
    'a property identifier in two bytes': publishing([0x81, 0, 0])
  }),
  ...of('property_length', 0x81, {
    PUBLISH: publish(0x30, 'a', [3], '\x01\x00'),
    CONNECT: connectAs(5, 2, [100], field('a')),
    PUBACK: packet(0x40, [0, 9, 0, 1]),
    DISCONNECT: packet(0xe0, [0, 5])
  }),
  ...of('property', 0x81, {
    'identifier 0': publishing([0]),
    'identifier 4': publishing([4, 0]),
    'identifier 0x2b': publishing([0x2b, 0]),
    'identifier 0x7f': publishing([0x7f, 0]),
    'an identifier of four bytes': publishing([0xff, 0xff, 0xff, 0x7f]),
    ...Object.fromEntries(Object.entries(CARRIERS).flatMap(([carrier, carry]) => [
      ...OF_SERVER.map((value) => [`${carrier}: ${[...value][0]} of a server`, carry(value)]),
      ...Object.entries(ONCE)
        .filter(([name, { of }]) => !of.includes(carry) && !(carrier === 'PUBLISH' && name === 'Subscription Identifier'))
        .map(([name, { values }]) => [`${carrier}: ${name}`, carry(values[0])])
    ]))
  }),
  ...of('property_repeated', 0x82, Object.fromEntries(Object.entries(ONCE).flatMap(([name, { of, values: [one, other] }]) =>
    of.flatMap((carry, at) => [
      [`${name}, the same, ${at}`, carry(one, one)], [`${name}, another, ${at}`, carry(one, user(), other)]
    ])))),
  ...of('property_value', 0x82, {
    'Payload Format Indicator 2': publishing([0x01, 2]),
    'Payload Format Indicator 2 of a will': willOf([0x01, 2]),
    'Request Problem Information 2': connecting([0x17, 2]),
    'Request Response Information 255': connecting([0x19, 255]),
    'Receive Maximum 0': connecting([0x21, 0, 0]),
    'Maximum Packet Size 0': connecting([0x27, 0, 0, 0, 0]),
    'Subscription Identifier 0': subscribing([0x0b, 0])
  }),
  ...of('packet_id', 0x82, {
    'PUBLISH, QoS 1': packet(0x32, field('vital/a'), [0, 0, 0]),
    'PUBLISH, QoS 2': packet(0x34, field('vital/a'), [0, 0, 0]),
    SUBSCRIBE: packet(0x82, [0, 0, 0], field('a'), [0]),
    UNSUBSCRIBE: packet(0xa2, [0, 0, 0], field('a')),
    PUBACK: packet(0x40, [0, 0]),
    PUBREC: packet(0x50, [0, 0, 0]),
    PUBREL: packet(0x62, [0, 0]),
    PUBCOMP: packet(0x70, [0, 0, 0, 0])
  }),
  ...of('protocol_name', 0x84, {
    'another protocol': packet(0x10, field('MQTX'), [5, 2, 0, 60, 0], field('a')),
    'MQTT 3.1': packet(0x10, field('MQIsdp'), [3, 2, 0, 60], field('a')),
    'no name': packet(0x10, field(''), [5, 2, 0, 60, 0], field('a'))
  }),
  ...of('protocol_level', 0x84, {
    'level 4': connectAs(4, 2, NONE, field('a')),
    'level 6': connectAs(6, 2, NONE, field('a')),
    'a bridge': connectAs(0x85, 2, NONE, field('a'))
  }),
  ...of('connect_flags', 0x81, { 'the reserved flag': connect(3, field('a')) }),
  ...of('will_flags', 0x81, {
    'will QoS 1 without a will': connect(0x0a, field('a')),
    'will QoS 3 without a will': connect(0x1a, field('a')),
    'will retain without a will': connect(0x22, field('a'))
  }),
  ...of('will_qos', 0x81, { 'will QoS 3': connect(0x1e, field('a'), ...WILL), retained: connect(0x3e, field('a'), ...WILL) }),
  ...of('authentication_data', 0x82, { 'without a method': connecting(text(0x16, 'x')) }),
  ...of('payload_format', 0x99, {
    PUBLISH: publish(0x32, 'vital/a', [2, 0x01, 1], Buffer.from([0x80])),
    'PUBLISH, QoS 0': publish(0x30, 'vital/a', [2, 0x01, 1], ILL_FORMED['a surrogate']),
    'a will': willing([2, 0x01, 1], ILL_FORMED['an overlong form'])
  }),
  ...of('topic_empty', 0x82, {
    'PUBLISH without an alias': publish(0x32, ''),
    'a will': connect(6, field('a'), NONE, field(''), field('x')),
    SUBSCRIBE: subscribe(field(''), [0]),
    'the second filter of a SUBSCRIBE': subscribe(field('a'), [0], field(''), [0]),
    UNSUBSCRIBE: unsubscribe(field('')),
    'a Response Topic': publishing(text(0x08, ''))
  }),
  ...of('topic_wildcard', 0x81, {
    'PUBLISH a/#': publish(0x32, 'a/#'),
    'PUBLISH a+, QoS 0': publish(0x30, 'a+'),
    'a will': connect(6, field('a'), NONE, field('vital/+'), field('x')),
    'a Response Topic with #': publishing(text(0x08, '#')),
    'a Response Topic of a will with +': willOf(text(0x08, 'a/+'))
  }),
  ...of('topic_alias', 0x94, { 'alias 0': publishing([0x23, 0, 0]) }),
  ...of('subscription_identifier', 0x82, { 'of a client\'s PUBLISH': publishing([0x0b, 1]) }),
  ...of('reason_code', 0x82, {
    'PUBACK 0x01': packet(0x40, [0, 9, 0x01]),
    'PUBACK 0x81': packet(0x40, [0, 9, 0x81]),
    'PUBACK 0x92': packet(0x40, [0, 9, 0x92, 0]),
    'PUBREC 0x92': packet(0x50, [0, 9, 0x92]),
    'PUBREL 0x80': packet(0x62, [0, 9, 0x80]),
    'PUBCOMP 0x10': packet(0x70, [0, 9, 0x10]),
    'DISCONNECT 0x01': packet(0xe0, [0x01]),
    'DISCONNECT 0x8e of a server': packet(0xe0, [0x8e]),
    'DISCONNECT 0xff': packet(0xe0, [0xff, 0])
  }),
  ...of('filter_missing', 0x82, { SUBSCRIBE: subscribe(), UNSUBSCRIBE: unsubscribe() }),
  ...of('filter_wildcard', 0x81, Object.fromEntries([
    'a#', '#/a', 'a/#/b', '+a', 'a+', 'a/b+/c', 'a/+b', '##', '++', 'größe#', '$share/g/a#', '$share/g/#/a', '$share/g+/a', '$share/#/a'
  ].flatMap((filter) => [
    [`SUBSCRIBE ${filter}`, subscribe(field('ok'), [0], field(filter), [1])], [`UNSUBSCRIBE ${filter}`, unsubscribe(field(filter))]
  ]))),
  ...of('share', 0x81, Object.fromEntries(['$share/', '$share/g', '$share/g/', '$share//a', '$share//', '$share/+/a'].flatMap((filter) => [
    [`SUBSCRIBE ${filter}`, subscribe(field(filter), [1])], [`UNSUBSCRIBE ${filter}`, unsubscribe(field(filter))]
  ]))),
  ...of('share_no_local', 0x82, { 'No Local on a share': subscribe(field('$share/g/a'), [0x05]) }),
  ...of('subscription_options', 0x81, {
    'bit 6': subscribe(field('a'), [0x41]), 'bit 7': subscribe(field('b'), [0], field('a'), [0x80])
  }),
  ...of('requested_qos', 0x82, { 'QoS 3': subscribe(field('a'), [3]) }),
  ...of('retain_handling', 0x82, { 'Retain Handling 3': subscribe(field('a'), [0x30]) }),
  ...Object.entries(ILL_FORMED).flatMap(([what, bytes]) => of('text', 0x81, {
    [`a client id with ${what}`]: connect(2, field(bytes)),
    [`a will topic with ${what}`]: connect(6, field('a'), NONE, field(bytes), field('x')),
    [`a user name with ${what}`]: connect(0x82, field('a'), field(bytes)),
    [`an Authentication Method with ${what}`]: connecting(text(0x15, bytes)),
    [`a user property's key with ${what}`]: connecting(user(bytes)),
    [`a user property's value with ${what}`]: publishing(user('k', bytes)),
    [`a Content Type with ${what}`]: publishing(text(0x03, bytes)),
    [`a Response Topic with ${what}`]: publishing(text(0x08, bytes)),
    [`a Reason String with ${what}`]: acknowledging(text(0x1f, bytes)),
    [`a Server Reference with ${what}`]: disconnecting(text(0x1c, bytes)),
    [`a topic with ${what}`]: publish(0x32, Buffer.concat([Buffer.from('vital/'), bytes])),
    [`a filter with ${what}`]: subscribe(field(bytes), [0]),
    [`a share with ${what}`]: subscribe(field(Buffer.concat([Buffer.from('$share/'), bytes, Buffer.from('/a')])), [0]),
    [`an UNSUBSCRIBE with ${what}`]: unsubscribe(field(bytes))
  }))
]

/** Rules about more than one packet, which the connection checks. */
const OF_CONNECTION: Record<string, ReasonCode5> = {
  connect_again: 0x82,
  authentication_missing: 0x82,
  topic_alias_unknown: 0x82,
  receive_maximum: 0x93,
  packet_size: 0x95,
  session_expiry: 0x82
}

function faultOf (bytes: Buffer): unknown {
  try {
    return decode5(bytes)
  } catch (error) {
    if (!(error instanceof PacketError)) throw error
    return { rule: error.rule, reasonCode: error.reasonCode }
  }
}

t.test('a packet that breaks a rule is refused with its reason code', (t) => {
  for (const { what, breaks, reasonCode, bytes } of CASES) {
    t.strictSame(faultOf(bytes), { rule: breaks, reasonCode }, `${breaks}: ${what}`)
  }
  t.end()
})

t.test('every rule has a case, or is the connection\'s', (t) => {
  const rules = [...new Set(CASES.map(({ breaks }) => breaks)), ...Object.keys(OF_CONNECTION)].sort()
  t.strictSame(rules, Object.keys(MALFORMED5).sort())
  for (const [rule, reasonCode] of Object.entries(OF_CONNECTION)) t.equal(new PacketError(rule as Malformed5).reasonCode, reasonCode, rule)
  t.end()
})

t.test('the message names rule and clause, and holds nothing of the packet', (t) => {
  t.throws(() => decode5(publish(0x32, 'secret/#')), { name: 'PacketError', message: `topic_wildcard (${MALFORMED5.topic_wildcard})` })
  t.end()
})
