import type { SessionRandom } from './session-random.ts'

/** Changes one encoded MQTT packet. While the remaining length stays right, the next packets are still read. */
type Mutation = (packet: Buffer, random: SessionRandom) => Buffer

const EDGES = [0, 1, 0x7f, 0x80, 0xc0, 0xc1, 0xf5, 0xfe, 0xff] as const
const TEXTS = [
  Buffer.from([0xff, 0xfe]), Buffer.from([0xc0, 0x80]), Buffer.from([0xed, 0xa0, 0x80]), Buffer.from([0xf4, 0x90, 0x80, 0x80]),
  Buffer.from([0]), Buffer.from('#'), Buffer.from('+'), Buffer.from('/'), Buffer.from('$SYS/'), Buffer.from('__proto__'),
  Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from('\u{1f600}')
] as const

function encodeLength (length: number): Buffer {
  const bytes: number[] = []
  do {
    bytes.push((length & 127) | (length > 127 ? 128 : 0))
    length >>>= 7
  } while (length > 0)
  return Buffer.from(bytes)
}

/** A packet with the remaining length that its body has. */
export function frame (first: number, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from([first]), encodeLength(body.length), body])
}

function bodyOf (packet: Buffer): Buffer {
  let at = 1
  while (at < packet.length && at < 4 && (packet[at] as number) >= 128) at++
  return packet.subarray(at + 1)
}

function overwrite (bytes: Buffer, at: number, text: Buffer): Buffer {
  const copy = Buffer.from(bytes)
  text.copy(copy, at)
  return copy
}

const first = (packet: Buffer) => packet[0] ?? 0

const flipBits: Mutation = (packet, random) => {
  const copy = Buffer.from(packet)
  for (let flips = 1 + random.below(4); flips > 0; flips--) {
    const at = random.below(copy.length)
    copy[at] = (copy[at] as number) ^ (1 << random.below(8))
  }
  return copy
}

const setEdge: Mutation = (packet, random) => overwrite(packet, random.below(packet.length), Buffer.from([random.pick(EDGES)]))

const changeType: Mutation = (packet, random) => overwrite(packet, 0, Buffer.from([random.below(256)]))

const changeFlags: Mutation = (packet, random) => overwrite(packet, 0, Buffer.from([(first(packet) & 0xf0) | random.below(16)]))

const falsifyLength: Mutation = (packet, random) => {
  const body = bodyOf(packet)
  const length = Math.max(0, body.length + random.pick([-20, -2, -1, 1, 2, 20, 300, 20_000, 300_000, 268_435_455]))
  return Buffer.concat([Buffer.from([first(packet)]), encodeLength(Math.min(length, 268_435_455)), body])
}

const overlongLength: Mutation = (packet, random) => {
  const length = random.pick([[0xff, 0xff, 0xff, 0xff, 0x7f], [0x80, 0x80, 0x80, 0x80, 0], [0x80, 0], [0x85, 0x80, 0]])
  return Buffer.concat([Buffer.from([first(packet), ...length]), bodyOf(packet)])
}

const truncate: Mutation = (packet, random) => packet.subarray(0, random.below(packet.length))

const shortenBody: Mutation = (packet, random) => {
  const body = bodyOf(packet)
  return frame(first(packet), body.subarray(0, random.below(body.length + 1)))
}

const insert: Mutation = (packet, random) => {
  const body = bodyOf(packet)
  const at = random.below(body.length + 1)
  return frame(first(packet), Buffer.concat([body.subarray(0, at), random.bytes(1 + random.few(400)), body.subarray(at)]))
}

const remove: Mutation = (packet, random) => {
  const body = bodyOf(packet)
  const at = random.below(body.length + 1)
  return frame(first(packet), Buffer.concat([body.subarray(0, at), body.subarray(at + 1 + random.few(20))]))
}

/** Topics, ids and names begin with two bytes of length. */
const falsifyInnerLength: Mutation = (packet, random) => {
  const body = bodyOf(packet)
  if (body.length < 2) return setEdge(packet, random)
  const length = random.pick([0, 1, body.length - 3, body.length - 2, body.length - 1, body.length, 0x7fff, 0xffff])
  const at = random.chance(0.6) ? 0 : random.below(body.length - 1)
  return frame(first(packet), overwrite(body, at, Buffer.from([(length >> 8) & 255, length & 255])))
}

const plantText: Mutation = (packet, random) => {
  const body = bodyOf(packet)
  return frame(first(packet), overwrite(body, 2 + random.below(Math.max(1, body.length - 2)), random.pick(TEXTS)))
}

const repeat: Mutation = (packet, random) => Buffer.concat(Array.from({ length: 2 + random.few(20) }, () => packet))

const MUTATIONS: readonly Mutation[] = [
  flipBits, flipBits, setEdge, changeType, changeFlags, falsifyLength, overlongLength, truncate, shortenBody, insert, remove,
  falsifyInnerLength, falsifyInnerLength, plantText, plantText, plantText, repeat
]

/** Breaks one packet in one to three ways. */
export function mutate (packet: Buffer, random: SessionRandom): Buffer {
  let mutated = packet
  for (let times = 1 + random.few(2); times > 0 && mutated.length > 0; times--) mutated = random.pick(MUTATIONS)(mutated, random)
  return mutated
}
