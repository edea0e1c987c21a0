/**
 * Splits the chunks of a socket into packets of the broker.
 *
 * A PUBLISH that is larger than the bound is cut: its first bytes are passed on as a packet, and the rest is dropped.
 * With a Maximum Packet Size in CONNECT the message would be lost silently: a broker drops larger messages and counts
 * them as delivered [MQTT-3.1.2-25]. If the connection were closed, the broker would send the message again for ever.
 */
import { decodeLength, LENGTH_INCOMPLETE, lengthBytes, lengthValue, PUBLISH, typeOf } from '../../broker/wire/fixed-header.ts'
import { PacketError } from '../../broker/wire/v5/packet-error.ts'

interface PacketFramesOptions {
  /** Bound on a packet's bytes after its fixed header. */
  readonly bodyBytesMax: number
  /**
   * Takes a packet. `bytes` does not change afterwards, so views of it may be kept.
   * @param isCut - bytes after `end` are missing
   */
  readonly onPacket: (firstByte: number, bytes: Buffer, start: number, end: number, isCut: boolean) => void
}

/** See the top of this file. */
export class PacketFrames {
  readonly #options: PacketFramesOptions
  /** The beginning of an incomplete packet. */
  #pieces: Buffer[] = []
  #piecesBytes = 0
  /** Bytes that are needed before the packet is examined again. */
  #neededBytes = 0
  /** Bytes of a cut packet that are still to be dropped. */
  #droppedBytes = 0

  constructor (options: PacketFramesOptions) {
    this.#options = options
  }

  /** @throws PacketError, and any error of `onPacket`; must not be called again after an error */
  take (chunk: Buffer): void {
    let bytes = chunk
    if (this.#droppedBytes > 0) {
      const dropped = Math.min(this.#droppedBytes, bytes.length)
      this.#droppedBytes -= dropped
      bytes = bytes.subarray(dropped)
    }
    if (this.#piecesBytes > 0) {
      this.#pieces.push(bytes)
      this.#piecesBytes += bytes.length
      if (this.#piecesBytes < this.#neededBytes) return
      bytes = Buffer.concat(this.#pieces, this.#piecesBytes)
      this.#pieces = []
      this.#piecesBytes = 0
    }
    this.#handle(bytes)
  }

  #handle (bytes: Buffer): void {
    const { bodyBytesMax, onPacket } = this.#options
    let at = 0
    while (at < bytes.length) {
      const firstByte = bytes[at]!
      const length = decodeLength(bytes, at + 1, bytes.length)
      if (length === LENGTH_INCOMPLETE) {
        this.#keep(bytes.subarray(at), bytes.length - at + 1)
        return
      }
      if (length < 0) throw new PacketError('variable_integer')
      const bodyAt = at + 1 + lengthBytes(length)
      const isCut = lengthValue(length) > bodyBytesMax
      if (isCut && typeOf(firstByte) !== PUBLISH) throw new PacketError('packet_size')
      const end = bodyAt + (isCut ? bodyBytesMax : lengthValue(length))
      if (end > bytes.length) {
        this.#keep(bytes.subarray(at), end - at)
        return
      }
      onPacket(firstByte, bytes, bodyAt, end, isCut)
      at = end
      if (isCut) {
        const rest = lengthValue(length) - bodyBytesMax
        at += rest
        this.#droppedBytes = Math.max(0, at - bytes.length)
      }
    }
  }

  #keep (bytes: Buffer, neededBytes: number): void {
    this.#pieces = [bytes]
    this.#piecesBytes = bytes.length
    this.#neededBytes = neededBytes
  }
}
