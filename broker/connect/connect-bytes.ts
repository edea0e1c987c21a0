/**
 * Tells MQTT 5 from the versions before it, by the protocol level of CONNECT. A level above 5 is refused as MQTT 5 does.
 *
 * A CONNECT of MQTT 5 is collected until it is whole, within `connectPacketBytesMax` and `connectTimeoutMs`. Any other
 * first packet is passed on, with the bytes that have come, as soon as it is known not to be one.
 */
import type { Duplex } from 'node:stream'
import type { Origin } from '../listen/origin.ts'
import { CONNECT, decodeLength, LENGTH_INCOMPLETE, lengthBytes, lengthValue } from '../wire/fixed-header.ts'

/** Protocol name in a CONNECT's body (MQTT 5 §3.1.2.1); the level follows. */
const NAME = Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54])
const HEAD_BYTES = NAME.length + 1
/** Mosquitto's bridges of MQTT 3.1 and 3.1.1 set a bit above these. */
const LEVELS = { min: 5, max: 0x7f } as const

/** A CONNECT. */
export interface ConnectBody {
  /** `null`: it is larger than `connectPacketBytesMax`. */
  readonly body: Buffer | null
  /** Length of the packet. */
  readonly bytes: number
}

interface ConnectBytesOptions {
  readonly connectPacketBytesMax: number
  readonly timeoutMs: number
  /** Takes a connection whose first packet is not a CONNECT of MQTT 5; its bytes are put back. */
  readonly serveOther: (stream: Duplex, origin: Origin) => void
  /** Takes one whose CONNECT of MQTT 5 has come; the bytes behind it are put back. */
  readonly serveMqtt5: (stream: Duplex, origin: Origin, connect: ConnectBody) => void
  readonly onTimeout: () => void
}

/** See the top of this file. */
export class ConnectBytes {
  readonly #options: ConnectBytesOptions
  readonly #underWay = new Set<Duplex>()

  constructor (options: ConnectBytesOptions) {
    this.#options = options
  }

  /** Takes a connection whose first bytes can be read. */
  readonly receive = (stream: Duplex, origin: Origin): void => {
    const chunk = stream.read() as Buffer
    if (this.#dispatch(stream, origin, chunk)) return
    const { timeoutMs, onTimeout, connectPacketBytesMax } = this.#options
    let bytes = chunk
    const timer = setTimeout(() => {
      onTimeout()
      stream.destroy()
    }, timeoutMs)
    const leave = () => {
      clearTimeout(timer)
      this.#underWay.delete(stream)
      stream.off('readable', onReadable).off('close', leave).off('error', ignore)
    }
    const onReadable = () => {
      const next = stream.read() as Buffer | null
      if (next === null) {
        if (stream.readableEnded) stream.destroy()
        return
      }
      bytes = Buffer.concat([bytes, next])
      if (toConnect5(bytes, connectPacketBytesMax) === 'incomplete') return
      leave()
      this.#dispatch(stream, origin, bytes)
    }
    this.#underWay.add(stream)
    stream.on('error', ignore).on('close', leave).on('readable', onReadable)
  }

  /** Closes all connections whose CONNECT has not come. */
  stop (): void {
    for (const stream of this.#underWay) stream.destroy()
  }

  /** @returns false when more bytes must come first */
  #dispatch (stream: Duplex, origin: Origin, chunk: Buffer): boolean {
    const { serveOther, serveMqtt5, connectPacketBytesMax } = this.#options
    const packet = toConnect5(chunk, connectPacketBytesMax)
    if (packet === 'incomplete') return false
    if (packet === null) {
      stream.unshift(chunk)
      serveOther(stream, origin)
      return true
    }
    const { bodyAt, bytes } = packet
    if (bytes < chunk.length) stream.unshift(chunk.subarray(bytes))
    serveMqtt5(stream, origin, { body: bytes > connectPacketBytesMax ? null : chunk.subarray(bodyAt, bytes), bytes })
    return true
  }
}

/**
 * Where the body and the packet of a CONNECT of MQTT 5 end.
 * @returns `null` for another packet, `incomplete` while it is not known or not whole
 */
function toConnect5 (chunk: Buffer, bytesMax: number): { readonly bodyAt: number, readonly bytes: number } | 'incomplete' | null {
  if (chunk[0] !== CONNECT << 4) return null
  const length = decodeLength(chunk, 1, chunk.length)
  if (length === LENGTH_INCOMPLETE) return 'incomplete'
  if (length < 0 || lengthValue(length) < HEAD_BYTES) return null
  const bodyAt = 1 + lengthBytes(length)
  const name = chunk.subarray(bodyAt, bodyAt + NAME.length)
  const level = chunk[bodyAt + NAME.length]
  const isOther = !NAME.subarray(0, name.length).equals(name) || (level !== undefined && (level < LEVELS.min || level > LEVELS.max))
  if (isOther) return null
  const bytes = bodyAt + lengthValue(length)
  if (bytes > bytesMax) return level === undefined ? null : { bodyAt, bytes }
  return bytes > chunk.length ? 'incomplete' : { bodyAt, bytes }
}

function ignore (): void {}
