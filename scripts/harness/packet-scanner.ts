/** MQTT control packet types as the first byte of a frame carries them (§2.2.1). */
export const CONNACK = 0x20
export const PUBACK = 0x40
export const PUBREC = 0x50
export const PUBCOMP = 0x70
export const PINGRESP = 0xd0
export const DISCONNECT = 0xe0

/**
 * Called for each frame: its first byte, the first two bytes of its body (a PUBACK's message id), big-endian, and the
 * reason code of MQTT 5: the third byte of an acknowledgement, the first of a DISCONNECT; 0 where it is left out.
 */
export type OnFrame = (type: number, word: number, code: number) => void

/**
 * Finds the frames in the bytes of one server, however TCP cut them. A PUBACK that is whole in a chunk, as nearly all
 * are, takes a path without state.
 */
export class FrameScanner {
  #type = -1
  #length = -1
  #shift = 0
  #partLength = 0
  #word = 0
  #code = 0
  #seen = 0

  scan (chunk: Uint8Array, end: number, onFrame: OnFrame): void {
    let at = 0
    while (at < end) {
      if (this.#type === -1 && chunk[at] === PUBACK && at + 4 <= end && chunk[at + 1] === 2) {
        onFrame(PUBACK, ((chunk[at + 2] ?? 0) << 8) | (chunk[at + 3] ?? 0), 0)
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
      if (this.#seen === (this.#type === DISCONNECT ? 0 : 2)) this.#code = byte
      this.#seen++
    }
    if (this.#seen === this.#length) {
      const type = this.#type
      const word = this.#word
      const code = this.#code
      this.#type = -1
      this.#length = -1
      this.#shift = this.#partLength = this.#word = this.#code = this.#seen = 0
      onFrame(type, word, code)
    }
  }
}
