/**
 * Reads the packets of an MQTT 5 client from the chunks of its socket, and decides when the socket is not read.
 *
 * It is the read gate (publish/read-gate.ts) of a client that Aedes does not serve. Packets are handled in order, as
 * they lie in the chunk. Before a PUBLISH the reader stops while all gates are paused or this connection is held, and
 * before any packet while the connection is over its rate: then the socket is paused, and TCP pushes back. Bytes of the
 * chunk that were not handled go back by `unshift`: they stay in the stream's own buffer, and its end waits for them. A
 * packet that ends behind its chunk is collected in a buffer that doubles, so that one that comes byte by byte is not
 * copied for each.
 */
import type { Duplex } from 'node:stream'
import type { Connection } from '../connection.ts'
import type { Gate } from '../publish/gate.ts'
import { toControlMessages } from '../publish/message-weights.ts'
import type { Traffic } from '../publish/packet-scanner.ts'
import { createRateLimiter, type RateLimiter, type Rates } from '../publish/rate-limiter.ts'
import type { ReadGates } from '../publish/read-gate.ts'
import {
  decodeLength, LENGTH_INCOMPLETE, lengthBytes, lengthValue, PINGREQ, PUBLISH, SUBSCRIBE, typeOf, UNSUBSCRIBE
} from '../wire/fixed-header.ts'
import { checkFirstByte5 } from '../wire/v5/decode.ts'
import { PacketError } from '../wire/v5/packet-error.ts'

/** Messages that may pass before a connection over its rate is read again, so that it is not woken for each. */
const MESSAGES_AT_ONCE = 64

/** Initial room for a packet that comes in pieces. */
const PARTIAL_BYTES_MIN = 64

/** Of all readers of a broker. */
export interface ReaderOptions {
  readonly gates: ReadGates<Connection>
  readonly traffic: Traffic
  readonly packetBytesMax: number
  readonly rates: Rates
  /** Handles a packet. @throws PacketError when it breaks a rule */
  readonly handle: (connection: Connection, firstByte: number, bytes: Buffer, start: number, end: number) => void
  /** A packet breaks a rule; nothing is read any more. */
  readonly onViolation: (connection: Connection, error: PacketError) => void
  readonly onRateLimit: (of: 'messages' | 'bytes') => void
}

/** See the top of this file. */
export class PacketReader implements Gate<Connection> {
  connection!: Connection
  readonly #options: ReaderOptions
  readonly #socket: Duplex
  readonly #limiter: RateLimiter | null
  #phase: 'first' | 'open' | 'closed' = 'first'
  #isHeld = false
  #isStopped = false
  /** Bytes of a chunk behind the packet that is handled. */
  #behind: Buffer | null = null
  /** The beginning of a packet. */
  #partial: Buffer | null = null
  #partialBytes = 0
  #limitTimer: NodeJS.Timeout | null = null

  constructor (options: ReaderOptions, socket: Duplex) {
    this.#options = options
    this.#socket = socket
    this.#limiter = createRateLimiter(options.rates, performance.now())
  }

  get #isStopping (): boolean {
    return this.#isHeld || this.#options.gates.paused
  }

  open (): void {
    if (this.#phase !== 'first') return
    this.#phase = 'open'
    const take = (chunk: Buffer) => { this.#take(chunk) }
    this.#socket.on('data', take)
    this.#socket.resume()
  }

  hold (): boolean {
    const isNew = !this.#isHeld
    this.#isHeld = true
    return isNew
  }

  release (): void {
    if (!this.#isHeld) return
    this.#isHeld = false
    if (this.#isStopped && this.#phase === 'open') this.#options.gates.add(this)
  }

  close (): void {
    this.#phase = 'closed'
    this.#partial = null
    if (this.#limitTimer !== null) clearTimeout(this.#limitTimer)
    this.#options.gates.remove(this)
  }

  wake (): void {
    if (this.#phase !== 'open' || !this.#isStopped || this.#isHeld || this.#limitTimer !== null) return
    this.#isStopped = false
    this.#socket.resume()
  }

  #take (chunk: Buffer): void {
    if (this.#phase === 'closed') return
    this.connection.client.refreshKeepalive()
    const rest = this.#partial === null ? chunk : this.#complete(this.#partial, chunk)
    if (rest !== null && rest.length > 0) this.#handle(rest)
  }

  /** Adds to the packet that is under way. @returns the bytes behind it; `null`: there are none, or they wait */
  #complete (begun: Buffer, chunk: Buffer): Buffer | null {
    let partial = begun
    let at = 0
    for (let missing = this.#missing(partial); missing > 0; missing = this.#missing(partial)) {
      if (at === chunk.length) return null
      const taken = Math.min(missing, chunk.length - at)
      const bytes = this.#partialBytes + taken
      if (bytes > partial.length) {
        const larger = Buffer.allocUnsafe(Math.max(partial.length * 2, bytes))
        larger.set(partial.subarray(0, this.#partialBytes))
        this.#partial = partial = larger
      }
      partial.set(chunk.subarray(at, at + taken), this.#partialBytes)
      this.#partialBytes = bytes
      at += taken
    }
    this.#partial = null
    this.#behind = chunk.subarray(at)
    this.#handle(partial.subarray(0, this.#partialBytes))
    const rest = this.#behind
    this.#behind = null
    return this.#phase === 'closed' || this.#isStopped ? null : rest
  }

  /** Bytes that a packet lacks; 1 while its length is not whole, 0 once it is whole or breaks a rule. */
  #missing (partial: Buffer): number {
    const length = decodeLength(partial, 1, this.#partialBytes)
    if (length === LENGTH_INCOMPLETE) return 1
    if (length < 0) return 0
    const bytes = 1 + lengthBytes(length) + lengthValue(length)
    return bytes > this.#options.packetBytesMax ? 0 : bytes - this.#partialBytes
  }

  /** Handles whole packets, and keeps the rest. @param bytes - begin with a packet */
  #handle (bytes: Buffer): void {
    const { traffic, packetBytesMax, handle, rates } = this.#options
    const { connection } = this
    const limiter = this.#limiter
    const end = bytes.length
    limiter?.fill(performance.now())
    let at = 0
    try {
      while (at < end && this.#phase === 'open') {
        const firstByte = bytes[at]!
        if (limiter?.isEmpty === true) return this.#waitForRate(limiter, bytes.subarray(at))
        if (typeOf(firstByte) === PUBLISH && this.#isStopping) return this.#stop(bytes.subarray(at))
        checkFirstByte5(firstByte)
        const length = decodeLength(bytes, at + 1, end)
        if (length === LENGTH_INCOMPLETE) return this.#keep(bytes.subarray(at))
        if (length < 0) throw new PacketError('variable_integer')
        const size = lengthBytes(length)
        // [MQTT-1.5.5-1]
        if (size > 1 && bytes[at + size] === 0) throw new PacketError('variable_integer')
        const bodyAt = at + 1 + size
        const packetEnd = bodyAt + lengthValue(length)
        if (packetEnd - at > packetBytesMax) throw new PacketError('packet_size')
        if (packetEnd > end) return this.#keep(bytes.subarray(at))
        traffic.packetsByType[typeOf(firstByte)]!++
        traffic.bytesReceived += packetEnd - at
        limiter?.spend(toMessages(firstByte, rates), packetEnd - at)
        handle(connection, firstByte, bytes, bodyAt, packetEnd)
        at = packetEnd
      }
    } catch (error) {
      if (!(error instanceof PacketError)) throw error
      this.close()
      this.#options.onViolation(connection, error)
    }
  }

  /** Keeps the beginning of a packet, in memory of its own. */
  #keep (bytes: Buffer): void {
    this.#partial = Buffer.allocUnsafe(Math.max(PARTIAL_BYTES_MIN, bytes.length))
    this.#partial.set(bytes)
    this.#partialBytes = bytes.length
  }

  #stop (rest: Buffer): void {
    this.#pause(rest)
    if (!this.#isHeld) this.#options.gates.add(this)
  }

  #waitForRate (limiter: RateLimiter, rest: Buffer): void {
    this.#pause(rest)
    const shortage = limiter.shortage(MESSAGES_AT_ONCE)
    if (shortage !== null) this.#options.onRateLimit(shortage.of)
    this.#limitTimer = setTimeout(() => {
      this.#limitTimer = null
      this.wake()
    }, Math.ceil(shortage?.waitMs ?? 1))
  }

  #pause (rest: Buffer): void {
    this.#isStopped = true
    this.#socket.pause()
    if (this.#behind !== null) this.#socket.unshift(this.#behind)
    this.#socket.unshift(rest)
  }
}

/** How many messages a packet counts as. */
function toMessages (firstByte: number, rates: Rates): number {
  switch (typeOf(firstByte)) {
    case PUBLISH: return 1
    case SUBSCRIBE:
    case UNSUBSCRIBE:
    case PINGREQ: return toControlMessages(rates)
    default: return 0
  }
}
