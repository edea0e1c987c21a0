import { encodeConnect, PINGREQ } from '../../harness/packet-scanner.ts'
import type { Chance } from './chance.ts'
import { hostilePayload, validReading } from './json-payload.ts'
import { clientPacket, connectPacket, publishPacket } from './mqtt-packets.ts'
import { mutate } from './mutate.ts'
import type { Fate, Session } from './session.ts'

const PACKETS_MAX = 160
/** Most mutations end the connection, and what comes behind is never looked at. */
const MUTATED_SHARE = 0.008
const PAYLOADS_MAX = 60
/** Below `VITAL_PACKET_BYTES_MAX` with room for the topic: here the payload is what is wrong, not the packet. */
const PAYLOAD_BYTES_MAX = 200_000
/** Readings of one session are numbered apart from those of the next. */
const NUMBERS_PER_SESSION = 1000

/** Most end in order: what is still unread of a connection that was reset is never looked at. */
function chooseFate (chance: Chance): Fate {
  const kind = chance.below(100)
  if (kind < 72) return 'end'
  if (kind < 85) return 'reset'
  return kind < 97 ? 'destroy' : 'linger'
}

/** Nothing; until some answers have come; until a batch has been committed. */
export function chooseWaitMs (chance: Chance): number {
  return chance.pick([0, 5, 30, 300])
}

/** The bytes of one MQTT connection: valid packets in any order, some of them broken; at times noise. */
export function mqttStream (chance: Chance, index: number): { stream: Buffer, packets: number } {
  if (chance.is(0.02)) return { stream: chance.bytes(1 + chance.few(2000)), packets: 1 }
  const parts: Buffer[] = []
  const add = (packet: Buffer) => { parts.push(chance.is(MUTATED_SHARE) ? mutate(packet, chance) : packet) }
  if (chance.is(0.97)) parts.push(chance.is(0.05) ? mutate(connectPacket(chance), chance) : connectPacket(chance))
  const count = Math.ceil(PACKETS_MAX * (0.02 + chance.below(1000) / 1000))
  for (let made = 0; made < count; made++) {
    add(chance.is(0.0005) ? connectPacket(chance) : clientPacket(chance, index * NUMBERS_PER_SESSION + made))
    if (chance.is(0.0005)) parts.push(chance.bytes(1 + chance.few(60)))
  }
  if (chance.is(0.1)) swapTwo(parts, chance)
  const stream = Buffer.concat(parts)
  return { stream: chance.is(0.08) ? stream.subarray(0, chance.below(stream.length)) : stream, packets: parts.length }
}

function swapTwo (parts: Buffer[], chance: Chance): void {
  const [a, b] = [chance.below(parts.length), chance.below(parts.length)]
  const kept = parts[a] as Buffer
  parts[a] = parts[b] as Buffer
  parts[b] = kept
}

/** Against the protocol: framing, order, session state, takeover. */
export function createMqttSession (chance: Chance, index: number): Session {
  const { stream, packets } = mqttStream(chance, index)
  return {
    target: 'mqtt', pieces: chance.cut(stream, chance.is(0.6) ? 0 : 6), packets, fate: chooseFate(chance), waitMs: chooseWaitMs(chance), acknowledgements: 0, answersMax: 0
  }
}

/** Against the payload: the protocol is kept, so every QoS 1 and 2 publish must be acknowledged whatever is in it. */
export function createPayloadSession (chance: Chance, index: number): Session {
  const id = `pay-${index}`
  const parts = [encodeConnect(id, 0)]
  const count = 1 + chance.below(PAYLOADS_MAX)
  let acknowledgements = 0
  for (let made = 0; made < count; made++) {
    const n = index * NUMBERS_PER_SESSION + made
    const payload = chance.is(0.3) ? Buffer.from(validReading(chance, n)) : hostilePayload(chance, n)
    const qos = chance.pick([0, 1, 1, 2] as const)
    // A hundred devices, so that the tables show what a fleet's would, and dead letters meet their cap per device.
    parts.push(publishPacket(`vital/pay-${index % 100}`, payload.subarray(0, PAYLOAD_BYTES_MAX), made + 1, qos))
    if (qos > 0) acknowledgements++
  }
  parts.push(PINGREQ)
  return {
    target: 'payload', pieces: chance.cut(Buffer.concat(parts), chance.is(0.7) ? 0 : 6), packets: parts.length, fate: 'end', waitMs: 0, acknowledgements, answersMax: 0
  }
}
