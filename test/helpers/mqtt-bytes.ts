/** Packets of MQTT made byte by byte, so that a test can break one rule. */
import mqttPacket, { type Packet } from 'mqtt-packet'
import {
  AUTH, CONNECT, decodeLength, DISCONNECT, encodedLengthBytes, lengthBytes, lengthValue, PINGREQ, PUBLISH, SUBSCRIBE, typeOf, UNSUBSCRIBE,
  writeLength
} from '../../broker/wire/fixed-header.ts'
import {
  checkFirstByte5, checkPingreq5, decodeAck, decodeConnect, decodeDisconnect, decodePublish, decodeSubscribe, decodeUnsubscribe, toTopicName
} from '../../broker/wire/v5/decode.ts'

export type Part = Buffer | readonly number[]

/** Texts that are not well-formed UTF-8, or have U+0000. */
export const ILL_FORMED: Readonly<Record<string, Buffer>> = {
  'U+0000': Buffer.from('a\0b'),
  'U+0000 behind other characters': Buffer.from('größe\0'),
  'a surrogate': Buffer.from([0x61, 0xed, 0xa0, 0x80]),
  'an overlong form': Buffer.from([0x61, 0xc0, 0xaf]),
  'an overlong U+0000': Buffer.from([0x61, 0xc0, 0x80]),
  'a lone continuation byte': Buffer.from([0x80]),
  'a character cut short': Buffer.from([0x61, 0xe2, 0x82]),
  'more than U+10FFFF': Buffer.from([0xf4, 0x90, 0x80, 0x80])
}

/** A text or binary field behind its length. */
export function field (text: string | Buffer): Buffer {
  const bytes = Buffer.from(text)
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes])
}

export function join (parts: readonly Part[]): Buffer {
  return Buffer.concat(parts.map((part) => Buffer.from(part)))
}

/** `parts` behind their length as a variable byte integer. */
export function counted (...parts: readonly Part[]): Buffer {
  const body = join(parts)
  const length = Buffer.alloc(encodedLengthBytes(body.length))
  writeLength(length, 0, body.length)
  return Buffer.concat([length, body])
}

export function packet (firstByte: number, ...parts: readonly Part[]): Buffer {
  return Buffer.concat([Buffer.from([firstByte]), counted(...parts)])
}

/**
 * Reads one packet of MQTT 5 with mqtt-packet.
 * @throws Error unless mqtt-packet finds exactly one packet and no error
 */
export function parse5 (bytes: Buffer): Packet {
  const packets: Packet[] = []
  const errors: unknown[] = []
  const parser = mqttPacket.parser({ protocolVersion: 5 })
  parser.on('packet', (packet) => { packets.push(packet) })
  parser.on('error', (error) => { errors.push(error) })
  parser.parse(bytes)
  if (packets.length !== 1 || errors.length > 0) throw new Error(`${packets.length} packets, ${errors.join()}`)
  return packets[0]!
}

/** Decodes a whole packet of MQTT 5 as a connection does: each type by its function, and a PUBLISH with its topic. */
export function decode5 (bytes: Buffer) {
  const length = decodeLength(bytes, 1, bytes.length)
  const bodyAt = 1 + lengthBytes(length)
  if (length < 0 || lengthValue(length) !== bytes.length - bodyAt) throw new Error('not one packet')
  const firstByte = bytes[0]!
  checkFirstByte5(firstByte)
  const body = bytes.subarray(bodyAt)
  const type = typeOf(firstByte)
  switch (type) {
    case CONNECT: return decodeConnect(body)
    case PUBLISH: {
      // The bytes of further packets follow, which decodePublish must not read.
      const publish = decodePublish(firstByte, join([bytes, [0, 0, 0, 0]]), bodyAt, bytes.length)
      const { topicStart, topicEnd, topicAlias, payloadStart } = publish
      const topic = topicStart === topicEnd && topicAlias !== null ? '' : toTopicName(bytes, topicStart, topicEnd)
      return { ...publish, topic, payload: bytes.subarray(payloadStart) }
    }
    case SUBSCRIBE: return decodeSubscribe(body)
    case UNSUBSCRIBE: return decodeUnsubscribe(body)
    case DISCONNECT: return decodeDisconnect(body)
    case PINGREQ: return checkPingreq5(body.length)
    case AUTH: return undefined
    default: return decodeAck(type, body)
  }
}
