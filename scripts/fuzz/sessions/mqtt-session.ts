import { encodeConnect, PINGREQ } from '../../harness/packet-encoder.ts'
import type { SessionRandom } from './session-random.ts'
import { hostilePayload, validReading } from './json-payload.ts'
import { clientPacket, connectPacket, publishPacket } from './mqtt-packets.ts'
import { mutate } from './mutate.ts'
import type { Fate, Session } from './session.ts'

const PACKETS_MAX = 160
/** Most mutations end the connection, and packets behind them are never read. */
const MUTATED_SHARE = 0.008
const PAYLOADS_MAX = 60
/** Below `VITAL_PACKET_BYTES_MAX` with room for the topic: here the payload is wrong, not the packet. */
const PAYLOAD_BYTES_MAX = 200_000
/** Readings of one session are numbered apart from those of the next. */
const NUMBERS_PER_SESSION = 1000

/** Most end in order: once a connection was reset, bytes of it that are still unread are never read. */
export function chooseFate (random: SessionRandom): Fate {
  const kind = random.below(100)
  if (kind < 72) return 'end'
  if (kind < 85) return 'reset'
  return kind < 97 ? 'destroy' : 'linger'
}

/** Nothing; until some answers have come; until a batch has been committed. */
export function chooseWaitMs (random: SessionRandom): number {
  return random.pick([0, 5, 30, 300])
}

/** The bytes of one MQTT connection: valid packets in any order, some of them broken; at times noise. */
export function mqttStream (random: SessionRandom, index: number): { stream: Buffer, packets: number } {
  if (random.chance(0.02)) return { stream: random.bytes(1 + random.few(2000)), packets: 1 }
  const parts: Buffer[] = []
  const add = (packet: Buffer) => { parts.push(random.chance(MUTATED_SHARE) ? mutate(packet, random) : packet) }
  if (random.chance(0.97)) parts.push(random.chance(0.05) ? mutate(connectPacket(random), random) : connectPacket(random))
  const count = Math.ceil(PACKETS_MAX * (0.02 + random.below(1000) / 1000))
  for (let made = 0; made < count; made++) {
    add(random.chance(0.0005) ? connectPacket(random) : clientPacket(random, index * NUMBERS_PER_SESSION + made))
    if (random.chance(0.0005)) parts.push(random.bytes(1 + random.few(60)))
  }
  if (random.chance(0.1)) swapTwo(parts, random)
  const stream = Buffer.concat(parts)
  return { stream: random.chance(0.08) ? stream.subarray(0, random.below(stream.length)) : stream, packets: parts.length }
}

function swapTwo (parts: Buffer[], random: SessionRandom): void {
  const [a, b] = [random.below(parts.length), random.below(parts.length)]
  const kept = parts[a] as Buffer
  parts[a] = parts[b] as Buffer
  parts[b] = kept
}

/** Against the protocol: framing, order, session state, takeover. */
export function createMqttSession (random: SessionRandom, index: number): Session {
  const { stream, packets } = mqttStream(random, index)
  return {
    target: 'mqtt',
    pieces: random.cut(stream, random.chance(0.6)
      ? 0
      : 6),
    packets,
    fate: chooseFate(random),
    waitMs: chooseWaitMs(random),
    acknowledgements: 0,
    answersMax: 0
  }
}

/** Against the payload: the protocol is kept, so every QoS 1 and 2 publish must be acknowledged whatever is in it. */
export function createPayloadSession (random: SessionRandom, index: number): Session {
  const id = `pay-${index}`
  const parts = [encodeConnect(id, 0)]
  const count = 1 + random.below(PAYLOADS_MAX)
  let acknowledgements = 0
  for (let made = 0; made < count; made++) {
    const n = index * NUMBERS_PER_SESSION + made
    const payload = random.chance(0.3) ? Buffer.from(validReading(random, n)) : hostilePayload(random, n)
    const qos = random.pick([0, 1, 1, 2] as const)
    // A hundred devices, so that the tables are like those of a fleet, and dead letters reach their cap per device.
    parts.push(publishPacket(`vital/pay-${index % 100}`, payload.subarray(0, PAYLOAD_BYTES_MAX), made + 1, qos))
    if (qos > 0) acknowledgements++
  }
  parts.push(PINGREQ)
  return {
    target: 'payload',
    pieces: random.cut(Buffer.concat(parts), random.chance(0.7)
      ? 0
      : 6),
    packets: parts.length,
    fate: 'end',
    waitMs: 0,
    acknowledgements,
    answersMax: 0
  }
}
