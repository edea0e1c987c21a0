import mqttPacket, { type Packet } from 'mqtt-packet'
import { CONNACK, LENGTH_BYTES_MAX, typeOf, writeLength } from '../../broker/wire/fixed-header.ts'
import { PacketError } from '../../broker/wire/v5/packet-error.ts'
import { REASONS5 } from '../../broker/wire/v5/reason-codes.ts'

export const MQTT5 = { protocolVersion: 5 }

/**
 * A broker without MQTT 5 answers in the form of its version: two bytes, of which the second is the return code (MQTT
 * 3.1.1 §3.2.2.3).
 */
const OLD_CONNACK_BYTES = 2

/** Decodes a packet of a broker other than PUBLISH. @throws PacketError */
export function decodeControl (firstByte: number, body: Buffer): Packet {
  if (typeOf(firstByte) === CONNACK && body.length === OLD_CONNACK_BYTES) {
    return { cmd: 'connack', sessionPresent: false, reasonCode: REASONS5.unsupportedProtocolVersion }
  }
  const header = Buffer.alloc(1 + LENGTH_BYTES_MAX)
  header[0] = firstByte
  const parser = mqttPacket.parser(MQTT5)
  let packet: Packet | null = null
  parser.on('packet', (parsed) => { packet = parsed })
  parser.on('error', () => { throw new PacketError('body_length') })
  parser.parse(header.subarray(0, writeLength(header, 1, body.length)))
  parser.parse(body)
  if (packet === null) throw new PacketError('truncated')
  return packet
}
