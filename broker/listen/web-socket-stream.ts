import { Duplex } from 'node:stream'
import type { RawData, WebSocket } from 'ws'

/** Close codes (RFC 6455 §7.4.1). */
const NORMAL = 1000
const GOING_AWAY = 1001
const UNSUPPORTED_DATA = 1003
const MESSAGE_TOO_BIG = 1009

interface WebSocketStreamOptions {
  readonly socket: WebSocket
  /** The stream below the WebSocket. */
  readonly transport: Duplex
  /** Bytes read before the first answer. */
  readonly unansweredBytesMax: number
  /** Whether the gateway stops; then the close frame says 1001, going away. */
  readonly isStopping: () => boolean
}

/**
 * A WebSocket's binary frames as a stream of bytes. Packets and frames need not begin or end together [MQTT-6.0.0-1].
 *
 * Backpressure goes both ways: while the reader has enough, the WebSocket is paused and TCP pushes back; a write
 * completes when the kernel has taken it. ws' own stream would wait for each write before the next; here those of one
 * turn leave in one frame, so that many acknowledgements cost one.
 */
export class WebSocketStream extends Duplex {
  readonly #socket: WebSocket
  readonly #transport: Duplex
  readonly #isStopping: () => boolean
  #unansweredBytes: number
  /** The reader asks for more. */
  #isWanted = false
  #isHeld = false
  #hasBegun = false

  constructor ({ socket, transport, unansweredBytesMax, isStopping }: WebSocketStreamOptions) {
    super({ allowHalfOpen: false })
    this.#socket = socket
    this.#transport = transport
    this.#unansweredBytes = unansweredBytesMax
    this.#isStopping = isStopping
    transport.on('data', this.#watch)
    socket.on('message', (data, isBinary) => { this.#take(data, isBinary) })
    // Broken frames; ws closes by itself.
    socket.on('error', () => { this.destroy() })
    socket.on('close', () => { this.push(null) })
  }

  /**
   * ws buffers a frame until it is whole, so a frame of an unauthenticated client could cost as much as the largest
   * packet. Beyond the bound the WebSocket is paused until the first answer. Within the very first frame it is closed,
   * because no answer would ever come.
   */
  readonly #watch = (bytes: Buffer): void => {
    this.#unansweredBytes -= bytes.length
    if (this.#unansweredBytes > 0) return
    this.#transport.off('data', this.#watch)
    if (this.#hasBegun) {
      this.#isHeld = true
      this.#socket.pause()
    } else {
      this.#refuse(MESSAGE_TOO_BIG)
    }
  }

  #take (data: RawData, isBinary: boolean): void {
    this.#hasBegun = true
    if (!isBinary) { // [MQTT-6.0.0-1]
      this.#refuse(UNSUPPORTED_DATA)
      return
    }
    if (this.destroyed || this.readableEnded) return
    this.#isWanted = this.push(data)
    if (!this.#isWanted) this.#socket.pause()
  }

  override _read (): void {
    this.#isWanted = true
    if (!this.#isHeld) this.#socket.resume()
  }

  override _write (chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#send(chunk, callback)
  }

  override _writev (chunks: Array<{ chunk: Buffer }>, callback: (error?: Error | null) => void): void {
    this.#send(Buffer.concat(chunks.map(({ chunk }) => chunk)), callback)
  }

  #send (bytes: Buffer, callback: (error?: Error | null) => void): void {
    this.#trust()
    this.#socket.send(bytes, callback)
  }

  #refuse (code: number): void {
    this.#socket.close(code)
    this.destroy()
  }

  /** An answer is written only to a client that is let in, or is about to be closed. */
  #trust (): void {
    this.#transport.off('data', this.#watch)
    if (!this.#isHeld) return
    this.#isHeld = false
    if (this.#isWanted) this.#socket.resume()
  }

  override _final (callback: () => void): void {
    this.#socket.close(NORMAL)
    callback()
  }

  override _destroy (error: Error | null, callback: (error: Error | null) => void): void {
    // Does nothing where a close frame was sent before.
    this.#socket.close(this.#isStopping() ? GOING_AWAY : NORMAL)
    // The frame is in the kernel by then, or its peer does not read.
    setImmediate(() => { this.#socket.terminate() })
    callback(error)
  }
}
