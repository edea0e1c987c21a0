import mqttPacket, { type IConnectPacket, type Packet } from 'mqtt-packet'
import { encodePublish } from '../../harness/packet-encoder.ts'
import { type SessionRandom } from './session-random.ts'
import { hostilePayload, validReading } from './json-payload.ts'
import { PRIVATE_MARK } from './session.ts'

/** Few, so that connections with one client id take each other over; enough that most are not taken over. */
const CLIENT_IDS = Array.from({ length: 4000 }, (_, index) => `fuzz-${index}`)
/** Clients that take over from each other must wait, up to 8 s; with many of them the attack would only wait. */
const SHARED_SHARE = 0.03
const SHARED_CLIENT_IDS = [
  'fuzz-0', 'fuzz-1', 'fuzz-2', 'fuzz-3',
  '', '__proto__', 'constructor', 'a/b+#', '$SYS', 'null\0', '\u{1f600}', 'x'.repeat(23), 'x'.repeat(1024), 'x'.repeat(1025)
] as const

const DEVICES = Array.from({ length: 24 }, (_, index) => `fuzz-${index}`)

const TOPICS = [
  'chat/a', 'chat/b', 'a', '/', '//', 'a/'.repeat(99), 'a/'.repeat(120), '$SYS/broker/uptime', '$SYS/x/new/clients',
  '$other/x', '__proto__', 'constructor/prototype',
  'vital', 'vital/', 'vital/a/b', 'vital/__proto__', 'vital/constructor', 'vital/$x', 'vital/fuzz-1/rejected',
  `vital/${'x'.repeat(129)}`, `vital/${'a/'.repeat(120)}`,
  'vital/\u0007', 'vital/\u{1f600}', 'x'.repeat(2000)
] as const

const FILTERS = [
  'chat/#', 'chat/+', 'vital/fuzz-1', 'vital/fuzz-2/rejected', '+/+/+/+/+/+/+/+', '+/'.repeat(99) + '+',
  '+/'.repeat(130) + '#', '/', '$SYS/broker/#', '__proto__', 'constructor/#',
  'x'.repeat(1024), 'x'.repeat(1025)
] as const

/** A client that asks for one of these is closed. */
const BROKEN_FILTERS = ['#/a', 'a#', '+a', 'a/#/b', 'vital/\0'] as const

const pickFilter = (random: SessionRandom) => random.pick(random.chance(0.02) ? BROKEN_FILTERS : FILTERS)

const integer = (random: SessionRandom) => 1 + random.below(random.chance(0.9) ? 40 : 65_535)

/** A CONNECT that a library could send. */
export function connectPacket (random: SessionRandom): Buffer {
  const packet: IConnectPacket = {
    cmd: 'connect',
    ...(random.chance(0.97)
      ? { protocolId: 'MQTT', protocolVersion: 4 }
      : random.chance(0.5) ? { protocolId: 'MQIsdp', protocolVersion: 3 } : { protocolId: 'MQTT', protocolVersion: 5 }),
    clean: random.chance(0.7),
    clientId: random.pick(random.chance(SHARED_SHARE) ? SHARED_CLIENT_IDS : CLIENT_IDS),
    keepalive: random.pick([0, 1, 10, 60, 65_535]),
    ...(random.chance(0.1)
      ? { username: random.chance(0.02) ? 'x'.repeat(3000) : random.pick(['fuzz-1', '']), password: Buffer.from(PRIVATE_MARK) }
      : {}),
    ...(random.chance(0.2)
      ? {
          will: {
            topic: random.chance(0.9)
              ? random.pick(['vital/fuzz-3', 'chat/a', '__proto__'])
              : random.pick(TOPICS),
            payload: Buffer.from(validReading(random, 0)),
            qos: random.pick([
              0, 1, 2
            ] as const),
            retain: random.chance(0.2)
          }
        }
      : {})
  }
  // Otherwise mqtt-packet refuses to write an empty client id.
  if (packet.clientId === '') Object.assign(packet, { clean: true, protocolId: 'MQTT', protocolVersion: 4 })
  const bytes = mqttPacket.generate(packet)
  if (random.chance(0.02)) withFlags(bytes, packet, random)
  return bytes
}

const WILL = 0x04
const WILL_QOS_AND_RETAIN = 0x38

/** Any combination of the flags that tell of a will, or of all flags; the fields behind them stay. */
function withFlags (bytes: Buffer, { protocolId = 'MQTT', will }: IConnectPacket, random: SessionRandom): void {
  const at = bytes.indexOf(protocolId) + protocolId.length + 1
  const flags = bytes[at] as number
  bytes[at] = will !== undefined && random.chance(0.7)
    ? (flags & ~WILL_QOS_AND_RETAIN) | WILL | (random.below(8) << 3)
    : random.below(256)
}

/** A PUBLISH with any payload. */
export function publishPacket (topic: string, payload: Buffer, messageId: number, qos: 0 | 1 | 2): Buffer {
  return qos === 0 ? encodePublish(topic, payload) : encodePublish(topic, payload, messageId, qos)
}

function subscribePacket (random: SessionRandom): Packet {
  const subscriptions = Array.from({ length: 1 + random.few(random.chance(0.005) ? 1200 : 5) }, () => ({
    // Filters for everything are seldom: such a subscriber gets everything that the others send.
    topic: random.chance(0.02) ? random.pick(['#', 'vital/#', 'vital/+']) : pickFilter(random), qos: random.pick([0, 1, 2] as const)
  }))
  return { cmd: 'subscribe', messageId: integer(random), subscriptions }
}

function otherPacket (random: SessionRandom): Packet {
  const messageId = integer(random)
  const kind = random.below(100)
  if (kind < 20) return { cmd: 'pubrel', messageId }
  if (kind < 30) return { cmd: 'puback', messageId }
  if (kind < 40) return { cmd: 'pubrec', messageId }
  if (kind < 50) return { cmd: 'pubcomp', messageId }
  if (kind < 75) return { cmd: 'pingreq' }
  if (kind < 88) return subscribePacket(random)
  if (kind < 97) return { cmd: 'unsubscribe', messageId, unsubscriptions: [pickFilter(random)] }
  if (random.chance(0.85)) return { cmd: 'pingreq' }
  if (random.chance(0.5)) return { cmd: 'disconnect' }
  // Packets that only a server sends.
  return random.pick<Packet>([
    {
      cmd: 'connack', returnCode: 0, sessionPresent: false
    }, { cmd: 'suback', messageId, granted: [0] }, { cmd: 'unsuback', messageId, granted: [] }, { cmd: 'pingresp' }
  ])
}

/**
 * Any packet that a client may send after CONNECT, most of them readings.
 * @param n - unique per reading
 */
export function clientPacket (random: SessionRandom, n: number): Buffer {
  const kind = random.below(100)
  if (kind >= 78) return mqttPacket.generate(otherPacket(random))
  const qos = random.pick([0, 1, 1, 1, 2] as const)
  const messageId = integer(random)
  if (kind < 55) return publishPacket(`vital/${random.pick(DEVICES)}`, Buffer.from(validReading(random, n)), messageId, qos)
  if (kind < 60) return publishPacket(`vital/${random.pick(DEVICES)}`, hostilePayload(random, n), messageId, qos)
  // Most other topics are harmless; otherwise each session would end here.
  const topic = random.chance(0.95) ? random.pick(['chat/a', 'chat/b', 'chat/c/d']) : random.pick(TOPICS)
  const packet = publishPacket(topic, random.chance(0.1) ? Buffer.alloc(0) : random.bytes(random.few(300)), messageId, qos)
  // DUP at QoS 0 closes the connection.
  if (random.chance(0.2)) packet[0] = (packet[0] as number) | (qos === 0 && random.chance(0.98) ? 1 : random.pick([1, 8, 9]))
  return packet
}
