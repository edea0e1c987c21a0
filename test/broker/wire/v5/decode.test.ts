/** Packets of MQTT 5 that are allowed: random ones that mqtt-packet writes, and those that it cannot write. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import mqttPacket, { type Packet } from 'mqtt-packet'
import t from 'tap'
import {
  type Connect5, decodePublish, PayloadFormatError, type Publish5, toTopicName
} from '../../../../broker/wire/v5/decode.ts'
import { encodePublish5 } from '../../../../broker/wire/v5/encode.ts'
import { exactly } from '../../../helpers/exactly.ts'
import { counted, decode5, field, join, packet, parse5 } from '../../../helpers/mqtt-bytes.ts'
import { holds } from '../../../helpers/property.ts'

const generate = (packet: object) => mqttPacket.generate(packet as Packet, { protocolVersion: 5 })

type DecodedPublish = Publish5 & { readonly topic: string, readonly payload: Buffer }

/** The properties that a subscriber gets, as mqtt-packet reads them. */
function readForwarded (forwarded: Buffer | null): unknown {
  const read = parse5(encodePublish5({
    topic: 'a',
    topicAlias: null,
    payload: Buffer.alloc(0),
    qos: 0,
    isRetained: false,
    isDuplicate: false,
    packetId: 0,
    messageExpiryS: null,
    subscriptionIdentifiers: [],
    forwarded
  }))
  const { properties = {} } = read as { properties?: { userProperties?: object } }
  // mqtt-packet reads user properties into an object without a prototype.
  return properties.userProperties === undefined ? properties : { ...properties, userProperties: { ...properties.userProperties } }
}

const text = fc.string({ unit: 'binary', maxLength: 20 }).filter((text) => !text.includes('\0'))
const topic = text.map((text) => `t/${text.replaceAll(/[+#]/g, '')}`)
const filter = fc.oneof(topic, topic.map((topic) => `$share/g/${topic}`),
  fc.constantFrom('#', '+/+', 'a/+/#', '/', '$share/größe/#', '$share'))
const binary = fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes))
const uint32 = fc.integer({ min: 0, max: 0xffff_ffff })
const qos = fc.constantFrom(0, 1, 2)
const packetId = fc.integer({ min: 1, max: 65_535 })
/** Keys and values in an object, as mqtt-packet takes them: so no key repeats, and none is a name of Object.prototype. */
const userProperties = fc.dictionary(text.map((key) => `k${key}`), text, { minKeys: 1, maxKeys: 3, noNullPrototype: true })

const messageProperties = {
  payloadFormatIndicator: fc.constant(false),
  messageExpiryInterval: uint32,
  contentType: text,
  responseTopic: topic,
  correlationData: binary,
  userProperties
}

const connects = fc.record({
  clientId: text,
  clean: fc.constant(true),
  keepalive: fc.integer({ min: 0, max: 65_535 }),
  credentials: fc.option(fc.record({ username: text, password: binary }, { requiredKeys: ['username'] })),
  will: fc.option(fc.record({
    topic,
    payload: binary,
    qos,
    retain: fc.boolean(),
    properties: fc.record({ ...messageProperties, willDelayInterval: uint32 }, { requiredKeys: [] })
  })),
  properties: fc.record({
    sessionExpiryInterval: uint32,
    receiveMaximum: packetId,
    maximumPacketSize: uint32.map((size) => size + 1).filter((size) => size <= 0xffff_ffff),
    topicAliasMaximum: fc.integer({ min: 0, max: 65_535 }),
    requestResponseInformation: fc.boolean(),
    requestProblemInformation: fc.boolean(),
    authenticationMethod: text,
    userProperties
  }, { requiredKeys: [] })
})

/** The properties of a message that a subscriber gets unaltered. */
function toForwarded ({ messageExpiryInterval, willDelayInterval, topicAlias, ...forwarded }: Record<string, unknown>): unknown {
  return forwarded
}

t.test('a CONNECT that mqtt-packet wrote', (t) => {
  holds(t, fc.property(connects, ({ credentials, will, properties, ...rest }) => {
    const bytes = generate({
      cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, ...rest, ...credentials, properties, ...will === null ? {} : { will }
    })
    const decoded = decode5(bytes) as Connect5
    assert.deepStrictEqual(decoded, {
      clientId: rest.clientId,
      cleanStart: rest.clean,
      keepAliveS: rest.keepalive,
      ...credentials,
      sessionExpiryS: properties.sessionExpiryInterval === 0xffff_ffff ? Infinity : properties.sessionExpiryInterval ?? 0,
      receiveMaximum: properties.receiveMaximum ?? 65_535,
      maximumPacketSize: properties.maximumPacketSize ?? null,
      topicAliasMaximum: properties.topicAliasMaximum ?? 0,
      requestResponseInformation: properties.requestResponseInformation ?? false,
      requestProblemInformation: properties.requestProblemInformation ?? true,
      authenticationMethod: properties.authenticationMethod ?? null,
      will: will === null
        ? null
        : {
            topic: will.topic,
            payload: will.payload,
            qos: will.qos,
            retain: will.retain,
            delayS: will.properties.willDelayInterval ?? 0,
            messageExpiryS: will.properties.messageExpiryInterval ?? null,
            forwarded: decoded.will?.forwarded ?? null
          }
    })
    if (will !== null) assert.deepStrictEqual(readForwarded(decoded.will!.forwarded), toForwarded(will.properties))
  }))
  t.end()
})

t.test('a PUBLISH that mqtt-packet wrote', (t) => {
  const publishes = fc.record({
    topic,
    payload: binary,
    qos,
    retain: fc.boolean(),
    dup: fc.boolean(),
    messageId: packetId,
    properties: fc.record({ ...messageProperties, topicAlias: packetId }, { requiredKeys: [] })
  })
  holds(t, fc.property(publishes, (publish) => {
    const isDuplicate = publish.dup && publish.qos > 0
    const { properties } = publish
    const { topicStart, topicEnd, payloadStart, forwarded, ...decoded } =
      decode5(generate({ cmd: 'publish', ...publish, dup: isDuplicate })) as DecodedPublish
    assert.deepStrictEqual(decoded, {
      qos: publish.qos,
      isRetained: publish.retain,
      isDuplicate,
      packetId: publish.qos === 0 ? 0 : publish.messageId,
      topicAlias: properties.topicAlias ?? null,
      messageExpiryS: properties.messageExpiryInterval ?? null,
      topic: publish.topic,
      payload: publish.payload
    })
    assert.equal(topicEnd - topicStart, Buffer.byteLength(publish.topic))
    assert.deepStrictEqual(readForwarded(forwarded), toForwarded(properties))
  }))
  t.end()
})

t.test('SUBSCRIBE and UNSUBSCRIBE that mqtt-packet wrote', (t) => {
  const subscribes = fc.record({
    messageId: packetId,
    subscriptions: fc.array(fc.record({
      topic: filter, qos, nl: fc.boolean(), rap: fc.boolean(), rh: fc.constantFrom(0, 1, 2)
    }), { minLength: 1 }),
    properties: fc.record({ subscriptionIdentifier: fc.integer({ min: 1, max: 268_435_455 }), userProperties }, { requiredKeys: [] })
  })
  holds(t, fc.property(subscribes, ({ messageId, subscriptions, properties }) => {
    const allowed = subscriptions.map((one) => ({ ...one, nl: one.nl && !one.topic.startsWith('$share/') }))
    assert.deepStrictEqual(decode5(generate({ cmd: 'subscribe', messageId, subscriptions: allowed, properties })), {
      packetId: messageId,
      subscriptionIdentifier: properties.subscriptionIdentifier ?? null,
      subscriptions: allowed.map(({ topic, qos, nl, rap, rh }) => ({
        filter: topic, qos, noLocal: nl, retainAsPublished: rap, retainHandling: rh
      }))
    })
    const unsubscriptions = allowed.map(({ topic }) => topic)
    assert.deepStrictEqual(decode5(generate({ cmd: 'unsubscribe', messageId, unsubscriptions })),
      { packetId: messageId, filters: unsubscriptions })
  }))
  t.end()
})

t.test('acknowledgements and DISCONNECT with every reason code that a client may send', (t) => {
  const received = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]
  const codes = {
    puback: received,
    pubrec: received,
    pubrel: [0x00, 0x92],
    pubcomp: [0x00, 0x92],
    disconnect: [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99]
  }
  const properties = { reasonString: 'größe', userProperties: { k: ['v', 'v'] } }
  for (const [cmd, reasonCodes] of Object.entries(codes)) {
    for (const reasonCode of reasonCodes) {
      const expected = cmd === 'disconnect' ? { reasonCode, sessionExpiryS: null } : { packetId: 513, reasonCode }
      for (const more of [{}, { properties }]) {
        t.strictSame(decode5(generate({ cmd, messageId: 513, reasonCode, ...more })), expected, `${cmd} ${reasonCode}`)
      }
    }
  }
  t.strictSame(decode5(generate({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 7 } })), {
    reasonCode: 0, sessionExpiryS: 7
  })
  t.end()
})

t.test('packets without their optional parts', (t) => {
  for (const firstByte of [0x40, 0x50, 0x62, 0x70]) {
    for (const rest of [[], [0], [0, 0]]) t.strictSame(decode5(packet(firstByte, [2, 1], rest)), { packetId: 513, reasonCode: 0 })
  }
  for (const rest of [[], [0], [0, 0]]) t.strictSame(decode5(packet(0xe0, rest)), { reasonCode: 0, sessionExpiryS: null })
  t.strictSame(decode5(packet(0xe0, [4])), { reasonCode: 4, sessionExpiryS: null })
  t.equal(decode5(packet(0xc0)), undefined, 'PINGREQ')
  t.equal(decode5(packet(0xf0)), undefined, 'AUTH: the first byte is allowed')
  t.end()
})

t.test('packets that mqtt-packet cannot write', (t) => {
  const connect = (flags: number, properties: readonly number[], ...payload: Buffer[]) =>
    decode5(packet(0x10, field('MQTT'), [5, flags, 0, 60], counted(properties), ...payload)) as Connect5
  t.match(connect(0x40, [], field(''), field('secret')),
    { clientId: '', cleanStart: false, password: Buffer.from('secret'), username: undefined },
    'a password without a user name, an empty client id without Clean Start')
  t.equal(connect(2, [0x11, 255, 255, 255, 255], field('a')).sessionExpiryS, Infinity)
  t.equal(connect(2, [0x11, 255, 255, 255, 254], field('a')).sessionExpiryS, 4_294_967_294)
  t.match(connect(2, [0x16, 0, 1, 9, 0x15, 0, 1, 0x61], field('a')), { authenticationMethod: 'a' }, 'data before its method')
  t.match(connect(2, [], field('\ufeffa\ufffd\u{1f600}')), { clientId: '\ufeffa\ufffd\u{1f600}' }, 'U+FEFF stays [MQTT-1.5.4-3]')
  t.match(decode5(packet(0xe0, [0], counted([0x11, 255, 255, 255, 255]))), { sessionExpiryS: Infinity })
  t.match(decode5(packet(0xe0, [0], counted([0x1c], field('other:1883')))), { reasonCode: 0 }, 'a Server Reference')
  t.match(decode5(packet(0x30, field(''), counted([0x23, 0, 7]))), { topic: '', topicAlias: 7 }, 'an alias alone')
  t.match(decode5(packet(0x82, [0, 9], counted([0x0b, 0xff, 0xff, 0xff, 0x7f]), field('$share/g/#'), [0])),
    { subscriptionIdentifier: 268_435_455, subscriptions: exactly({ filter: '$share/g/#' }) })
  t.end()
})

t.test('the error of a payload that is not the UTF-8 it claims to be holds its packet', (t) => {
  const publish = (payload: Buffer) => packet(0x32, field('vital/a'), [0, 9], counted([0x01, 1]), payload)
  t.match(decode5(publish(Buffer.from('größe\0'))), { payload: Buffer.from('größe\0') }, 'U+0000 is allowed in a payload')
  try {
    decode5(publish(Buffer.from([0xff])))
    t.fail('a payload that is not UTF-8 was decoded')
  } catch (error) {
    t.match(error, { reasonCode: 0x99, rule: 'payload_format' })
    t.ok(error instanceof PayloadFormatError)
    t.match((error as PayloadFormatError).publish, { packetId: 9, qos: 1, topicStart: 4, topicEnd: 11, payloadStart: 16 })
  }
  t.match(decode5(packet(0x32, field('vital/a'), [0, 9], counted([0x01, 0]), [0xff])), { payload: Buffer.from([0xff]) }, 'indicator 0')
  t.end()
})

t.test('names of Object.prototype are texts like any other', (t) => {
  for (const name of ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty']) {
    const user = join([[0x26], field(name), field(name)])
    const will = [counted(user), field(name), field(name)]
    const connected = decode5(packet(0x10, field('MQTT'), [5, 6, 0, 60], counted(user), field(name), ...will))
    t.match(connected, { clientId: name, will: { topic: name, forwarded: user } })
    t.match(decode5(packet(0x30, field(name), counted(user, user))), { topic: name, forwarded: join([user, user]) })
    t.match(decode5(packet(0x82, [0, 9], counted(user), field(name), [0])), { subscriptions: exactly({ filter: name }) })
    t.match(decode5(packet(0xa2, [0, 9], counted(user), field(name))), { filters: exactly(name) })
  }
  t.strictSame(Object.keys(Object.prototype), [])
  t.end()
})

t.test('offsets count from the start of the buffer that holds the packet', (t) => {
  const one = packet(0x32, field('vital/a'), [0, 9, 0], Buffer.from('{}'))
  const bytes = join([[1, 2, 3], one, [4, 5]])
  const publish = decodePublish(0x32, bytes, 5, 3 + one.length)
  t.strictSame(publish, {
    qos: 1,
    isRetained: false,
    isDuplicate: false,
    packetId: 9,
    topicStart: 7,
    topicEnd: 14,
    topicAlias: null,
    messageExpiryS: null,
    forwarded: null,
    payloadStart: 17
  })
  t.equal(toTopicName(bytes, publish.topicStart, publish.topicEnd), 'vital/a')
  const long = decode5(packet(0x32, field('vital/a'), [0, 9], counted([0x02, 0, 0, 0, 1]), Buffer.from('{}')))
  t.strictSame(Object.keys(long!).slice(0, 10), Object.keys(publish), 'with properties the fields are the same, in the same order')
  t.end()
})
