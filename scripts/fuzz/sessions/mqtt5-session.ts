import mqttPacket, { type IConnectPacket, type IPublishPacket, type Packet, type UserProperties } from 'mqtt-packet'
import { validReading } from './json-payload.ts'
import { chooseFate, chooseWaitMs } from './mqtt-session.ts'
import { mutate } from './mutate.ts'
import { PRIVATE_MARK, type Session } from './session.ts'
import type { SessionRandom } from './session-random.ts'

const PACKETS_MAX = 120
/** Most mutations end the connection, and packets behind them are never read. */
const MUTATED_SHARE = 0.01
const NUMBERS_PER_SESSION = 1000

/** Names that reach an object's prototype, where an object is keyed by them. */
const NAMES = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'a', '', '\u{1f600}', 'x'.repeat(300)] as const
const FILTERS = [
  'chat/#', 'vital/fuzz-1', '$share/a/chat/#', '$share/__proto__/chat/+', '$share/a/#', '$share//x', '$share/a', 'constructor', '+/+', '#'
] as const

const write = (packet: Packet) => mqttPacket.generate(packet, { protocolVersion: 5 })
const number = (random: SessionRandom) => random.pick([0, 1, 2, 20, 0xffff, 0xffffffff])

function userProperties (random: SessionRandom): UserProperties {
  const properties = Object.create(null) as Record<string, string | string[]>
  for (let count = random.few(5); count > 0; count--) properties[random.pick(NAMES)] = random.chance(0.5) ? PRIVATE_MARK : ['1', '2']
  return properties
}

function connect (random: SessionRandom): Buffer {
  const topic = random.pick(['vital/fuzz-3', 'chat/a', '__proto__'])
  const packet: IConnectPacket = {
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 5,
    clean: random.chance(0.6),
    clientId: random.chance(0.05) ? random.pick(NAMES) : `fuzz5-${random.below(4000)}`,
    keepalive: random.pick([0, 1, 60, 0xffff]),
    properties: {
      sessionExpiryInterval: number(random),
      receiveMaximum: random.pick([1, 20, 0xffff]),
      maximumPacketSize: random.pick([1, 20, 1000, 0xffffffff]),
      topicAliasMaximum: random.pick([0, 1, 0xffff]),
      requestProblemInformation: random.chance(0.5),
      userProperties: userProperties(random)
    },
    ...(random.chance(0.3) && {
      will: {
        topic,
        payload: Buffer.from(validReading(random, 0)),
        qos: random.pick([0, 1, 2] as const),
        retain: random.chance(0.2),
        properties: {
          willDelayInterval: random.pick([0, 1, 5]), messageExpiryInterval: number(random), userProperties: userProperties(random)
        }
      }
    })
  }
  // Otherwise mqtt-packet refuses to write an empty client id.
  if (packet.clientId === '') packet.clean = true
  return write(packet)
}

function publish (random: SessionRandom, n: number): Buffer {
  const qos = random.pick([0, 1, 1, 1, 2] as const)
  const topic = random.chance(0.6) ? `vital/fuzz-${random.below(24)}` : random.pick(['chat/a', 'chat/b', 'vital/a/b', '__proto__'])
  const packet: IPublishPacket = {
    cmd: 'publish',
    topic,
    payload: random.chance(0.9) ? Buffer.from(validReading(random, n)) : random.bytes(random.few(300)),
    qos,
    dup: qos > 0 && random.chance(0.1),
    retain: random.chance(0.1),
    ...(qos > 0 && { messageId: 1 + random.below(200) }),
    properties: {
      ...(random.chance(0.2) && { messageExpiryInterval: number(random) }),
      ...(random.chance(0.1) && { payloadFormatIndicator: true }),
      ...(random.chance(0.3) && { topicAlias: random.pick([1, 2, 10]) }),
      ...(random.chance(0.2) && { responseTopic: 'chat/answer', correlationData: random.bytes(random.few(50)) }),
      ...(random.chance(0.3) && { userProperties: userProperties(random) })
    }
  }
  // An alias without a topic; its topic may never have been sent.
  if (packet.properties?.topicAlias !== undefined && random.chance(0.02)) packet.topic = ''
  return write(packet)
}

function other (random: SessionRandom): Buffer {
  const messageId = 1 + random.below(200)
  const reasonCode = random.pick([0, 0, 0x80, 0x92])
  const kind = random.below(100)
  if (kind < 15) return write({ cmd: 'pubrel', messageId, reasonCode: random.pick([0, 0x92]) })
  if (kind < 25) return write({ cmd: 'puback', messageId, reasonCode: random.pick([0, 0x80]) })
  if (kind < 35) return write({ cmd: 'pubrec', messageId, reasonCode: random.pick([0, 0x80]) })
  if (kind < 45) return write({ cmd: 'pubcomp', messageId, reasonCode: random.pick([0, 0x92]) })
  if (kind < 60) return write({ cmd: 'pingreq' })
  if (kind < 85) {
    const subscriptions = Array.from({ length: 1 + random.few(4) }, () => ({
      topic: random.pick(random.chance(0.9) ? FILTERS.slice(0, 5) : FILTERS),
      qos: random.pick([0, 1, 2] as const),
      rap: random.chance(0.5),
      rh: random.pick([0, 1, 2] as const)
    }))
    const properties = random.chance(0.5) ? { subscriptionIdentifier: random.pick([1, 200, 268_435_455]) } : {}
    return write({ cmd: 'subscribe', messageId, subscriptions, properties })
  }
  if (kind < 97) return write({ cmd: 'unsubscribe', messageId, unsubscriptions: [random.pick(FILTERS)] })
  return random.chance(0.5) ? write({ cmd: 'disconnect', reasonCode: random.pick([0, 4]) }) : write({ cmd: 'auth', reasonCode } as Packet)
}

/** Against MQTT 5: properties, aliases, shares, sessions that are resumed and taken over. */
export function createMqtt5Session (random: SessionRandom, index: number): Session {
  const first = connect(random)
  const parts = [random.chance(0.05) ? mutate(first, random) : first]
  const count = 1 + random.below(PACKETS_MAX)
  for (let made = 0; made < count; made++) {
    const packet = random.chance(0.75) ? publish(random, index * NUMBERS_PER_SESSION + made) : other(random)
    parts.push(random.chance(MUTATED_SHARE) ? mutate(packet, random) : packet)
  }
  const whole = Buffer.concat(parts)
  const stream = random.chance(0.08) ? whole.subarray(0, random.below(whole.length)) : whole
  return {
    target: 'mqtt5',
    pieces: random.cut(stream, random.chance(0.6) ? 0 : 6),
    packets: parts.length,
    fate: chooseFate(random),
    waitMs: chooseWaitMs(random),
    acknowledgements: 0,
    answersMax: 0
  }
}
