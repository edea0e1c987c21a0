/**
 * Packets of a broker, from the chunks of a socket.
 *
 * A PUBLISH that is larger than the bound is cut: its first bytes are handed on as a packet, the rest is dropped as it comes.
 * Announcing a Maximum Packet Size instead would lose it without a word: a broker drops what is larger and takes it as delivered
 * [MQTT-3.1.2-25]. Closing the connection would bring it again for ever.
 */
import { decodeLength, LENGTH_INCOMPLETE, lengthBytes, lengthValue, PUBLISH, typeOf } from '../../broker/wire/fixed-header.ts'
import { PacketError } from '../../broker/wire/v5/packet-error.ts'

interface PacketFramesOptions {
  /** Of a packet behind its fixed header. */
  readonly bodyBytesMax: number
  /** Takes a packet. `bytes` stays as it is; views of it may be kept. @param isCut - bytes behind `end` are missing */
  readonly onPacket: (firstByte: number, bytes: Buffer, start: number, end: number, isCut: boolean) => void
}

/** See the top of this file. */
export class PacketFrames {
  readonly #options: PacketFramesOptions
  /** The beginning of a packet. */
  #pieces: Buffer[] = []
  #piecesBytes = 0
  /** Bytes without which nothing more can be told of it. */
  #neededBytes = 0
  /** Bytes of a packet that was cut, still to come. */
  #droppedBytes = 0

  constructor (options: PacketFramesOptions) {
    this.#options = options
  }

  /** @throws PacketError, also what `onPacket` throws; nothing may be taken afterwards */
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
