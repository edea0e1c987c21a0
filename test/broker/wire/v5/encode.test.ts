/** Packets that the gateway writes in MQTT 5, read by mqtt-packet. */
import mqttPacket from 'mqtt-packet'
import t from 'tap'
import { PUBACK, PUBCOMP, PUBREC, PUBREL } from '../../../../broker/wire/fixed-header.ts'
import {
  encodeAck5, encodeConnack5, encodeDisconnect5, encodePublish5, encodeSuback5, encodeUnsuback5, type OutgoingPublish5, PINGRESP
} from '../../../../broker/wire/v5/encode.ts'
import { REASONS5 } from '../../../../broker/wire/v5/reason-codes.ts'
import { exactly } from '../../../helpers/exactly.ts'
import { counted, field, join, parse5 as parse } from '../../../helpers/mqtt-bytes.ts'

const PLAIN: OutgoingPublish5 = {
  topic: 'vital/größe',
  topicAlias: null,
  payload: Buffer.from('{}'),
  qos: 0,
  isRetained: false,
  isDuplicate: false,
  packetId: 0,
  messageExpiryS: null,
  subscriptionIdentifiers: [],
  forwarded: null
}

t.test('a CONNACK with every property', (t) => {
  const bytes = encodeConnack5({
    sessionPresent: true,
    reasonCode: REASONS5.success,
    properties: {
      sessionExpiryS: 7,
      receiveMaximum: 20,
      maximumQoS: 1,
      retainAvailable: true,
      maximumPacketSize: 262_144,
      assignedClientId: 'größe',
      topicAliasMaximum: 10,
      reasonString: 'why',
      wildcardSubscriptionAvailable: true,
      subscriptionIdentifiersAvailable: false,
      sharedSubscriptionAvailable: true,
      serverKeepAliveS: 3600,
      responseInformation: 'answers/',
      serverReference: 'other:1883'
    }
  })
  t.match(parse(bytes), {
    cmd: 'connack',
    sessionPresent: true,
    reasonCode: 0,
    properties: {
      sessionExpiryInterval: 7,
      receiveMaximum: 20,
      maximumQoS: 1,
      retainAvailable: true,
      maximumPacketSize: 262_144,
      assignedClientIdentifier: 'größe',
      topicAliasMaximum: 10,
      reasonString: 'why',
      wildcardSubscriptionAvailable: true,
      subscriptionIdentifiersAvailable: false,
      sharedSubscriptionAvailable: true,
      serverKeepAlive: 3600,
      responseInformation: 'answers/',
      serverReference: 'other:1883'
    }
  })
  t.end()
})

t.test('a CONNACK without properties says so [MQTT-2.2.2-1], and one can be refused', (t) => {
  t.strictSame([...encodeConnack5({ sessionPresent: false, reasonCode: REASONS5.success, properties: {} })], [0x20, 3, 0, 0, 0])
  t.strictSame([...encodeConnack5({ sessionPresent: false, reasonCode: REASONS5.notAuthorized, properties: {} })], [0x20, 3, 0, 0x87, 0])
  t.strictSame([...encodeConnack5({ sessionPresent: false, reasonCode: 0, properties: { sessionExpiryS: Infinity } })],
    [0x20, 8, 0, 0, 5, 0x11, 255, 255, 255, 255], 'a session that never ends')
  t.end()
})

t.test('a PUBLISH at every width of the remaining length', (t) => {
  for (const bytes of [0, 1, 100, 110, 111, 112, 113, 114, 115, 127, 128, 16_370, 16_384, 70_000, 2_097_140, 2_097_152]) {
    for (const qos of [0, 1, 2] as const) {
      const packet = { ...PLAIN, payload: Buffer.alloc(bytes, 'x'), qos, packetId: qos === 0 ? 0 : 65_535, isRetained: bytes % 2 === 0 }
      const expected = mqttPacket.generate({
        cmd: 'publish', topic: PLAIN.topic, payload: packet.payload, qos, retain: packet.isRetained, dup: false, messageId: 65_535
      }, { protocolVersion: 5 })
      t.ok(encodePublish5(packet).equals(expected), `${bytes} bytes at QoS ${qos}`)
    }
  }
  t.end()
})

t.test('a PUBLISH with every property', (t) => {
  const user = (key: string, value: string) => Buffer.concat([Buffer.from([0x26]), field(key), field(value)])
  const forwarded = join([user('b', '1'), [0x01, 1], user('a', '2'), [0x08], field('answers'), user('b', '1')])
  const bytes = encodePublish5({
    ...PLAIN,
    topicAlias: 3,
    qos: 2,
    isDuplicate: true,
    packetId: 258,
    messageExpiryS: 4_294_967_295,
    subscriptionIdentifiers: [1, 268_435_455],
    forwarded
  })
  t.match(parse(bytes), {
    cmd: 'publish',
    topic: PLAIN.topic,
    qos: 2,
    dup: true,
    retain: false,
    messageId: 258,
    payload: PLAIN.payload,
    properties: {
      topicAlias: 3,
      messageExpiryInterval: 4_294_967_295,
      subscriptionIdentifier: exactly(1, 268_435_455),
      responseTopic: 'answers',
      payloadFormatIndicator: true
    }
  })
  t.ok(bytes.includes(forwarded), 'properties of the publisher are sent unaltered, in their order [MQTT-3.3.2-18]')
  const aliased = parse(encodePublish5({ ...PLAIN, topic: '', topicAlias: 65_535 }))
  t.match(aliased, { topic: '', properties: { topicAlias: 65_535 }, payload: PLAIN.payload }, 'an alias instead of a topic')
  t.end()
})

t.test('a PUBLISH with properties of every width of their length', (t) => {
  for (const bytes of [120, 121, 122, 123, 124, 125, 16_370, 16_375, 16_378, 16_379, 16_380, 16_381, 65_000]) {
    const forwarded = join([[0x09], field(Buffer.alloc(bytes, 'x'))])
    const packet = encodePublish5({ ...PLAIN, forwarded })
    t.ok(packet.subarray(2 + Buffer.byteLength(PLAIN.topic)).includes(join([counted(forwarded), PLAIN.payload])), `${bytes}`)
    t.match(parse(packet), { properties: { correlationData: Buffer.alloc(bytes, 'x') }, payload: PLAIN.payload })
  }
  t.end()
})

t.test('PUBACK, PUBREC, PUBREL and PUBCOMP', (t) => {
  const acks = [[PUBACK, 'puback', 0x40], [PUBREC, 'pubrec', 0x50], [PUBREL, 'pubrel', 0x62], [PUBCOMP, 'pubcomp', 0x70]] as const
  for (const [type, cmd, firstByte] of acks) {
    t.strictSame([...encodeAck5(type, 513, REASONS5.success, null, 4)], [firstByte, 2, 2, 1], `${cmd}: success`)
    const failure = type === PUBREL || type === PUBCOMP ? REASONS5.packetIdentifierNotFound : REASONS5.payloadFormatInvalid
    t.strictSame([...encodeAck5(type, 513, failure, null, null)], [firstByte, 3, 2, 1, failure], `${cmd}: a failure`)
    for (const code of [REASONS5.success, failure]) {
      const bytes = encodeAck5(type, 513, code, '2 of 10 rejected', null)
      t.match(parse(bytes), { cmd, messageId: 513, reasonCode: code, properties: { reasonString: '2 of 10 rejected' } }, `${cmd}: a string`)
      t.same(encodeAck5(type, 513, code, '2 of 10 rejected', bytes.length), bytes, `${cmd}: it just fits`)
      const without = encodeAck5(type, 513, code, null, null)
      t.same(encodeAck5(type, 513, code, '2 of 10 rejected', bytes.length - 1), without, `${cmd}: one byte too long`)
    }
  }
  t.end()
})

t.test('a Reason String is left out where the packet would exceed the client\'s Maximum Packet Size', (t) => {
  const reasonString = 'x'.repeat(200)
  const connack = (reason: object, maximum: number | null) =>
    encodeConnack5({ sessionPresent: false, reasonCode: REASONS5.serverBusy, properties: { receiveMaximum: 1, ...reason } }, maximum)
  for (const encode of [
    (text: string | null, maximum: number | null) => encodeDisconnect5(REASONS5.serverBusy, text, maximum),
    (text: string | null, maximum: number | null) => connack(text === null ? {} : { reasonString: text }, maximum),
    (text: string | null, maximum: number | null) => encodeAck5(PUBREC, 9, REASONS5.quotaExceeded, text, maximum)
  ]) {
    const long = encode(reasonString, null)
    t.match(parse(long), { properties: { reasonString } })
    t.same(encode(reasonString, long.length), long)
    t.same(encode(reasonString, long.length - 1), encode(null, null))
    t.same(encode(reasonString, 1), encode(null, null), 'the rest is sent nevertheless')
    t.same(encode('x'.repeat(65_536), null), encode(null, null), 'longer than a string may be')
    t.equal(encode('x'.repeat(65_535), null).length, encode('x'.repeat(65_534), null).length + 1)
    t.match(parse(encode('a\0b\ud800', null)), { properties: { reasonString: 'a\ufffdb\ufffd' } }, 'no string that a client must refuse')
    t.same(encode('', null), encode(null, null))
  }
  t.end()
})

t.test('SUBACK and UNSUBACK', (t) => {
  for (const count of [1, 2, 124, 125, 16_381]) {
    const codes = Array.from({ length: count }, (_, index) => [0, 1, 2, REASONS5.notAuthorized][index % 4]!)
    t.match(parse(encodeSuback5(513, codes)), { cmd: 'suback', messageId: 513, granted: codes })
  }
  const codes = [REASONS5.success, REASONS5.noSubscriptionExisted, REASONS5.notAuthorized] as const
  t.match(parse(encodeUnsuback5(513, codes)), { cmd: 'unsuback', messageId: 513, granted: codes })
  t.end()
})

t.test('DISCONNECT and PINGRESP', (t) => {
  t.strictSame([...encodeDisconnect5(REASONS5.sessionTakenOver, null, 3)], [0xe0, 1, 0x8e])
  t.match(parse(encodeDisconnect5(REASONS5.serverBusy, 'later', null)),
    { cmd: 'disconnect', reasonCode: 0x89, properties: { reasonString: 'later' } })
  t.match(parse(PINGRESP), { cmd: 'pingresp' })
  t.end()
})
