import type { SessionRandom } from './session-random.ts'
import { chooseWaitMs, mqttStream } from './mqtt-session.ts'
import type { Session } from './session.ts'

/** RFC 6455 §5.2. */
const OPCODES = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const
const FRAGMENTS_MAX = 20

const UPGRADES = [
  'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: ' +
    'dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: mqtt\r\n',
  'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n',
  'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 12\r\nsec-websocket-key: ' +
    'dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: mqtt\r\n',
  'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: x\r\nsec-websocket-protocol: mqtt\r\n',
  'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: mqtt\r\n',
  'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: ' +
    'dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: mqtt\r\nsec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n'
] as const

function encodeHeader (first: number, length: number, isMasked: boolean): Buffer {
  const mask = isMasked ? 0x80 : 0
  if (length < 126) return Buffer.from([first, mask | length])
  if (length < 65_536) return Buffer.from([first, mask | 126, length >> 8, length & 255])
  const header = Buffer.alloc(10)
  header[0] = first
  header[1] = mask | 127
  header.writeBigUInt64BE(BigInt(length), 2)
  return header
}

function encodeFrame (payload: Buffer, opcode: number, isFinal: boolean, random: SessionRandom): Buffer {
  const first = (isFinal ? 0x80 : 0) | opcode
  // A server must fail a connection whose client does not mask (§5.1).
  if (random.chance(0.005)) return Buffer.concat([encodeHeader(first, payload.length, false), payload])
  const key = random.bytes(4)
  const masked = Buffer.from(payload)
  for (let at = 0; at < masked.length; at++) masked[at] = (masked[at] as number) ^ (key[at & 3] as number)
  const frame = Buffer.concat([encodeHeader(first, payload.length, true), key, masked])
  if (random.chance(0.01)) frame[random.below(Math.min(14, frame.length))] = random.below(256)
  return frame
}

/** Bytes that no well-behaved client sends between its frames. */
function oddFrame (random: SessionRandom): Buffer {
  const kind = random.below(6)
  if (kind === 0) return encodeFrame(random.bytes(random.few(200)), OPCODES.ping, random.chance(0.9), random)
  if (kind === 1) return encodeFrame(random.bytes(random.few(130)), OPCODES.close, true, random)
  if (kind === 2) return encodeFrame(random.bytes(20), OPCODES.text, true, random)
  if (kind === 3) {
    return Buffer.concat(Array.from({ length: 1 + random.few(500) },
      () => encodeFrame(Buffer.alloc(0), OPCODES.continuation, false, random)))
  }
  if (kind === 4) return Buffer.from([0x82, 0xff, ...random.bytes(12)])
  return encodeFrame(Buffer.alloc(0), random.below(16), true, random)
}

/** MQTT in WebSocket frames that end anywhere, and bytes that are not frames. */
export function createWsSession (random: SessionRandom, index: number): Session {
  const { stream, packets } = mqttStream(random, index)
  const upgrade = random.chance(0.9) ? UPGRADES[0] : random.pick(UPGRADES)
  const path = random.chance(0.97) ? '/mqtt' : random.pick(['/mqtt/', '/mqtt?x=1', '/vital-data', '/'])
  const parts: Buffer[] = [Buffer.from(`GET ${path} HTTP/1.1\r\nhost: x\r\n${upgrade}\r\n`)]
  const isMessageEach = random.chance(0.5)
  for (const [at, piece] of random.cut(stream, FRAGMENTS_MAX).entries()) {
    if (random.chance(0.02)) parts.push(oddFrame(random))
    parts.push(encodeFrame(piece, at === 0 || isMessageEach ? OPCODES.binary : OPCODES.continuation, isMessageEach, random))
  }
  return {
    target: 'ws',
    pieces: random.cut(Buffer.concat(parts), random.chance(0.5) ? 0 : 6),
    packets,
    fate: random.chance(0.75)
      ? 'end'
      : random.pick(['reset', 'destroy', 'linger'] as const),
    waitMs: chooseWaitMs(random),
    acknowledgements: 0,
    answersMax: 0
  }
}
