/** MQTT 3.1.1 control packet types as the first byte of a frame carries them (§2.2.1). */
export const CONNACK = 0x20
export const PUBACK = 0x40
export const PINGRESP = 0xd0

/** A PINGREQ, whole. */
export const PINGREQ = Buffer.from([0xc0, 0])

function encodeLength (length: number): Buffer {
  const bytes: number[] = []
  do {
    const rest = length >>> 7
    bytes.push((length & 127) | (rest > 0 ? 128 : 0))
    length = rest
  } while (length > 0)
  return Buffer.from(bytes)
}

function encodeText (text: string): Buffer {
  const bytes = Buffer.from(text)
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes])
}

/**
 * A CONNECT with a clean session.
 * @param keepaliveS - 0 turns the server's keepalive off
 * @param secret - the password; the user name is the client id then, unless told
 */
export function encodeConnect (clientId: string, keepaliveS: number, secret?: string, username = clientId): Buffer {
  const credentials = secret === undefined ? [] : [encodeText(username), encodeText(secret)]
  const flags = secret === undefined ? 0x02 : 0xc2
  const body = Buffer.concat([
    encodeText('MQTT'), Buffer.from([4, flags, keepaliveS >> 8, keepaliveS & 255]), encodeText(clientId), ...credentials
  ])
  return Buffer.concat([Buffer.from([0x10]), encodeLength(body.length), body])
}

/**
 * A PUBLISH, and where its payload begins, so that the payload can be changed in place.
 * @param messageId - of a QoS 1 publish, from 1; without one it is QoS 0
 */
export function encodePublish (topic: string, payload: Buffer, messageId?: number): { packet: Buffer, payloadAt: number } {
  const id = messageId === undefined ? Buffer.alloc(0) : Buffer.from([messageId >> 8, messageId & 255])
  const body = Buffer.concat([encodeText(topic), id, payload])
  const packet = Buffer.concat([Buffer.from([messageId === undefined ? 0x30 : 0x32]), encodeLength(body.length), body])
  return { packet, payloadAt: packet.length - payload.length }
}

/** A SUBSCRIBE for these filters at QoS 0. */
export function encodeSubscribe (messageId: number, filters: readonly string[]): Buffer {
  const body = Buffer.concat([Buffer.from([messageId >> 8, messageId & 255]), ...filters.flatMap((filter) => [encodeText(filter), Buffer.from([0])])])
  return Buffer.concat([Buffer.from([0x82]), encodeLength(body.length), body])
}

/** Told of each frame: its first byte and the first two bytes of its body (a PUBACK's message id), big-endian. */
export type OnFrame = (type: number, word: number) => void

/**
 * Finds the frames in what one server sends, however TCP cut it. PUBACKs that lie whole in a chunk, which is nearly
 * all of them, take a path without state.
 */
export class FrameScanner {
  #type = -1
  #length = -1
  #shift = 0
  #partLength = 0
  #word = 0
  #seen = 0

  scan (chunk: Uint8Array, end: number, onFrame: OnFrame): void {
    let at = 0
    while (at < end) {
      if (this.#type === -1 && chunk[at] === PUBACK && at + 4 <= end && chunk[at + 1] === 2) {
        onFrame(PUBACK, ((chunk[at + 2] ?? 0) << 8) | (chunk[at + 3] ?? 0))
        at += 4
      } else {
        this.#take(chunk[at] ?? 0, onFrame)
        at++
      }
    }
  }

  #take (byte: number, onFrame: OnFrame): void {
    if (this.#type === -1) {
      this.#type = byte
      return
    }
    if (this.#length === -1) {
      this.#partLength |= (byte & 127) << this.#shift
      this.#shift += 7
      if (byte < 128) this.#length = this.#partLength
    } else {
      if (this.#seen < 2) this.#word = (this.#word << 8) | byte
      this.#seen++
    }
    if (this.#seen === this.#length) {
      const type = this.#type
      const word = this.#word
      this.#type = -1
      this.#length = -1
      this.#shift = this.#partLength = this.#word = this.#seen = 0
      onFrame(type, word)
    }
  }
}
