import type { Chance } from './chance.ts'
import { chooseWaitMs, mqttStream } from './mqtt-session.ts'
import type { Session } from './session.ts'

/** RFC 6455 §5.2. */
const OPCODES = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const
const FRAGMENTS_MAX = 20

const UPGRADES = [
  'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: mqtt\r\n',
  'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n',
  'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 12\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: mqtt\r\n',
  'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: x\r\nsec-websocket-protocol: mqtt\r\n',
  'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: mqtt\r\n',
  'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: mqtt\r\nsec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n'
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

function encodeFrame (payload: Buffer, opcode: number, isFinal: boolean, chance: Chance): Buffer {
  const first = (isFinal ? 0x80 : 0) | opcode
  // A server must fail a connection whose client does not mask (§5.1).
  if (chance.is(0.005)) return Buffer.concat([encodeHeader(first, payload.length, false), payload])
  const key = chance.bytes(4)
  const masked = Buffer.from(payload)
  for (let at = 0; at < masked.length; at++) masked[at] = (masked[at] as number) ^ (key[at & 3] as number)
  const frame = Buffer.concat([encodeHeader(first, payload.length, true), key, masked])
  if (chance.is(0.01)) frame[chance.below(Math.min(14, frame.length))] = chance.below(256)
  return frame
}

/** What no client of good will sends between its frames. */
function oddFrame (chance: Chance): Buffer {
  const kind = chance.below(6)
  if (kind === 0) return encodeFrame(chance.bytes(chance.few(200)), OPCODES.ping, chance.is(0.9), chance)
  if (kind === 1) return encodeFrame(chance.bytes(chance.few(130)), OPCODES.close, true, chance)
  if (kind === 2) return encodeFrame(chance.bytes(20), OPCODES.text, true, chance)
  if (kind === 3) return Buffer.concat(Array.from({ length: 1 + chance.few(500) }, () => encodeFrame(Buffer.alloc(0), OPCODES.continuation, false, chance)))
  if (kind === 4) return Buffer.from([0x82, 0xff, ...chance.bytes(12)])
  return encodeFrame(Buffer.alloc(0), chance.below(16), true, chance)
}

/** MQTT in WebSocket frames that break where they like, and frames that are none. */
export function createWsSession (chance: Chance, index: number): Session {
  const { stream, packets } = mqttStream(chance, index)
  const upgrade = chance.is(0.9) ? UPGRADES[0] : chance.pick(UPGRADES)
  const parts: Buffer[] = [Buffer.from(`GET ${chance.is(0.97) ? '/mqtt' : chance.pick(['/mqtt/', '/mqtt?x=1', '/vital-data', '/'])} HTTP/1.1\r\nhost: x\r\n${upgrade}\r\n`)]
  const isMessageEach = chance.is(0.5)
  for (const [at, piece] of chance.cut(stream, FRAGMENTS_MAX).entries()) {
    if (chance.is(0.02)) parts.push(oddFrame(chance))
    parts.push(encodeFrame(piece, at === 0 || isMessageEach ? OPCODES.binary : OPCODES.continuation, isMessageEach, chance))
  }
  return {
    target: 'ws', pieces: chance.cut(Buffer.concat(parts), chance.is(0.5) ? 0 : 6), packets, fate: chance.is(0.75) ? 'end' : chance.pick(['reset', 'destroy', 'linger'] as const), waitMs: chooseWaitMs(chance), acknowledgements: 0, answersMax: 0
  }
}
