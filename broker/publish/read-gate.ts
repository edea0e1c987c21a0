/**
 * Backpressure towards publishers.
 *
 * Aedes reads a stream on each `readable` event, however many publishes it has been made to hold, and neither
 * `client.pause()` nor `socket.pause()` stops it without harm. So the gate stands in the socket's own `read`:
 *
 * - `first`: until CONNACK is sent, one packet passes, the CONNECT, and the rest waits in the socket. Aedes would queue
 *   42 and then disconnect.
 * - `open`: chunks pass as they come, and only their packets are checked. Publishes for the fast path are taken from
 *   the front of a chunk, and the rest passes up to the next one.
 * - limited: the connection has sent more than its rate allows, so nothing passes until some time has gone by.
 * - paused (all gates) or held (this one): packets pass up to the next PUBLISH, then the gate is `stopped` and the
 *   socket is not read, so that TCP pushes back. Pings, subscriptions and acknowledgements of clients that do not
 *   publish keep flowing: an operator can watch through an outage.
 *
 * A stream asks its source for more while it is read, before it can know that most of the chunk will come back. So the
 * gate passes such a request on only once the stream is empty. Otherwise a connection over its rate would add a chunk
 * to memory each time it is woken.
 *
 * A chunk that comes while the stream is empty is offered to the fast path before it enters the stream: buffering it,
 * emitting `readable` in the next tick and reading it again took a tenth of the gateway's time for a fleet, in which
 * each read brings one publish.
 *
 * Bytes that may not pass go back by `unshift`, so they stay in the stream's own buffer and `end` waits for them: a
 * client that published, disconnected and left is still read. A stopped gate opens only from the event loop: Aedes'
 * parser is not re-entrant, so nothing may be left to read while it works on a chunk.
 */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { isPublishQos1, PACKET_BYTES_MIN } from '../wire/fixed-header.ts'
import type { Gate } from './gate.ts'
import { messagesOf, toControlMessages } from './message-weights.ts'
import { PacketScanner, type PacketViolation, SCAN, type ScanMode, type Traffic } from './packet-scanner.ts'
import { createRateLimiter, type RateLimiter, type Rates } from './rate-limiter.ts'

/** Gates woken in one turn of the event loop: a resumption of thousands leaves room for timers and writes. */
const WAKES_PER_TURN = 64

/** The connection of a gate, as far as the gate needs it. */
export interface GateOwner { readonly client: { readOn (): void } }

/** Publishes that {@link FastPath.take} took from the front of a chunk. */
export interface Taken {
  /** Bytes of whole publishes. */
  bytes: number
  /** Whether the rest is the beginning of another such publish: it is kept until more of it has come. */
  isPartial: boolean
}

/** Handles publishes that do not go to Aedes (fast-path.ts). */
export interface FastPath {
  /**
   * Takes the publishes at the front of `chunk`, which must begin with a packet.
   * @param gate - asked before each publish whether it stops
   * @param limiter - filled; each publish taken is spent
   */
  take (chunk: Buffer, gate: { readonly isStopping: boolean }, limiter: RateLimiter | null): Taken
}

export interface ReadGatesOptions<C> {
  readonly traffic: Traffic
  readonly connectPacketBytesMax: number
  readonly packetBytesMax: number
  /** Of each connection; 0: no limit. */
  readonly rates: Rates
  readonly onViolation: (connection: C, violation: PacketViolation) => void
  /** A connection has met its rate. */
  readonly onRateLimit: (of: 'messages' | 'bytes') => void
}

/** Messages that may pass before a connection over its rate is read again, so that it is not woken for each. */
const MESSAGES_AT_ONCE = 64

/** The gate of one socket. Made by {@link ReadGates.guard}. */
export class ReadGate<C extends GateOwner> implements Gate<C> {
  readonly #gates: ReadGates<C>
  readonly #socket: Duplex
  readonly #read: Duplex['read']
  readonly #scanner: PacketScanner
  /** `null`: without a limit. */
  readonly #limiter: RateLimiter | null
  readonly #fill: Duplex['_read']
  readonly #push: Duplex['push']
  /** The stream has asked its source for more, and the request was not passed on yet. */
  #isFillDue = false
  #isReading = false
  #phase: 'first' | 'open' | 'closed' = 'first'
  #stopped = false
  #held = false
  #limitTimer: NodeJS.Timeout | null = null
  #fastPath: FastPath | null = null
  /** The beginning of a publish for the fast path. */
  #partial: Buffer | null = null
  connection!: C

  constructor (gates: ReadGates<C>, socket: Duplex) {
    const { traffic, connectPacketBytesMax, rates } = gates.options
    this.#gates = gates
    this.#socket = socket
    this.#read = socket.read
    this.#fill = socket._read
    this.#push = socket.push
    this.#scanner = new PacketScanner({ traffic, packetBytesMax: connectPacketBytesMax })
    this.#limiter = createRateLimiter(rates, performance.now())
    // Named first: V8 allocates a function that is written straight into a property in its old generation, where the
    // function keeps its connection until a major collection.
    const read = (bytes?: number) => {
      const chunk = this.#pass(bytes)
      this.#fillIfDue()
      return chunk
    }
    const fill = (bytes: number) => {
      if (this.#isReading) this.#isFillDue = true
      else this.#fill.call(socket, bytes)
    }
    const push = (chunk: unknown, encoding?: BufferEncoding) => this.#pushed(chunk, encoding)
    Object.assign(socket, { read, _read: fill })
    // Only of a TCP socket, which reads on by itself. Other streams are asked again once their buffer has been read.
    if (socket instanceof Socket) socket.push = push
  }

  /** Whether it stops at the next PUBLISH. */
  get isStopping (): boolean {
    return this.#held || this.#gates.paused || this.#phase !== 'open'
  }

  /** Whether the next bytes begin with a packet, and would be read next. */
  get #isFree (): boolean {
    // A gate that stops, or whose connection is over its rate, leaves bytes in the stream.
    return !this.isStopping && this.#scanner.atBoundary && this.#socket.readableLength === 0
  }

  /** Publishes that `fastPath` takes no longer reach Aedes. */
  useFastPath (fastPath: FastPath): void {
    this.#fastPath = fastPath
  }

  /** Aedes reads on by itself right after. */
  open (): void {
    if (this.#phase !== 'first') return
    this.#phase = 'open'
    this.#stopped = false
    this.#scanner.packetBytesMax = this.#gates.options.packetBytesMax
  }

  hold (): boolean {
    const isNew = !this.#held
    this.#held = true
    return isNew
  }

  release (): void {
    if (!this.#held) return
    this.#held = false
    if (this.#stopped && this.#phase === 'open') this.#gates.add(this)
  }

  close (): void {
    this.#phase = 'closed'
    this.#stopped = true
    if (this.#limitTimer !== null) clearTimeout(this.#limitTimer)
    this.#gates.remove(this)
  }

  /** For {@link ReadGates}, on an empty stack. */
  wake (): void {
    if (this.#phase !== 'open' || !this.#stopped || this.#held) return
    this.#stopped = false
    this.connection.client.readOn()
  }

  /** In place of the socket's `push`. @returns whether the socket may read on */
  #pushed (chunk: unknown, encoding?: BufferEncoding): boolean {
    const fastPath = this.#fastPath
    // `null` is the end of the stream.
    if (fastPath === null || !(chunk instanceof Buffer) || !this.#isFree) {
      return this.#push.call(this.#socket, chunk, encoding)
    }
    const rest = this.#takeFront(fastPath, chunk)
    return rest === null || this.#push.call(this.#socket, rest)
  }

  #pass (bytes?: number): Buffer | null {
    // read(0) is the stream asking its source for more, or noticing its end; it returns no data.
    if (bytes === 0) return this.#read.call(this.#socket, 0)
    // The buffer of a destroyed stream could still be read.
    if (this.#stopped || this.#limitTimer !== null || this.#socket.destroyed) return null
    this.#isReading = true
    const chunk = this.#read.call(this.#socket) as Buffer | null
    this.#isReading = false
    if (chunk === null) return null
    const scanner = this.#scanner
    if (this.#phase === 'first') {
      const passed = scanner.scan(chunk, SCAN.onePacket)
      return scanner.violation === null && !scanner.atBoundary ? chunk : this.#stop(chunk, passed)
    }
    const rest = this.#fastPath === null || !scanner.atBoundary ? chunk : this.#takeFront(this.#fastPath, chunk)
    if (rest === null) return null
    const mode = this.isStopping ? SCAN.untilPublish : this.#fastPath === null ? SCAN.all : SCAN.untilFastPath
    if (this.#limiter !== null) return this.#passLimited(rest, mode, this.#limiter)
    const passed = scanner.scan(rest, mode)
    return passed === rest.length && scanner.violation === null ? rest : this.#stop(rest, passed)
  }

  #fillIfDue (): void {
    const socket = this.#socket
    if (!this.#isFillDue || socket.readableLength > 0) return
    this.#isFillDue = false
    if (!socket.destroyed) this.#fill.call(socket, socket.readableHighWaterMark)
  }

  /** @returns the bytes that are not for the fast path; `null` when none are left for now */
  #takeFront (fastPath: FastPath, chunk: Buffer): Buffer | null {
    const whole = this.#partial === null ? chunk : Buffer.concat([this.#partial, chunk])
    this.#partial = null
    this.#limiter?.fill(performance.now())
    const { bytes, isPartial } = fastPath.take(whole, this, this.#limiter)
    // A publish that is not allowed or over a limit closes the gate.
    if (this.#phase === 'closed' || bytes === whole.length) return null
    const rest = bytes === 0 ? whole : whole.subarray(bytes)
    if (!isPartial) return rest
    // Copied, or a few bytes would keep the chunk in memory.
    this.#partial = Buffer.from(rest)
    return null
  }

  /**
   * Passes what the rate allows. Costs a clock and two subtractions a chunk, unless the chunk may hold too many
   * packets.
   */
  #passLimited (chunk: Buffer, mode: ScanMode, limiter: RateLimiter): Buffer | null {
    const { traffic, rates } = this.#gates.options
    const scanner = this.#scanner
    limiter.fill(performance.now())
    const end = Math.min(chunk.length, Math.max(Math.floor(limiter.bytes), 0))
    const control = toControlMessages(rates)
    const before = messagesOf(traffic, control)
    let passed = 0
    let stopped = false
    if (end / PACKET_BYTES_MIN * control <= limiter.messages) {
      passed = scanner.scan(end === chunk.length ? chunk : chunk.subarray(0, end), mode)
      stopped = passed < end || scanner.isOver
    } else {
      // Packet by packet, so that a chunk of 32,000 pings is not one step.
      while (passed < end && !stopped && messagesOf(traffic, control) - before < limiter.messages) {
        const rest = chunk.subarray(passed, end)
        const step = scanner.scan(rest, mode === SCAN.untilPublish ? mode : SCAN.onePacket)
        passed += step
        stopped = scanner.violation !== null || scanner.isOver || (mode === SCAN.untilPublish && step < rest.length) ||
          (mode === SCAN.untilFastPath && passed < end && isPublishQos1(chunk[passed]!))
      }
    }
    limiter.spend(messagesOf(traffic, control) - before, passed)
    if (stopped) return this.#stop(chunk, passed)
    if (passed === chunk.length) return chunk
    this.#waitForRate(limiter)
    this.#socket.unshift(chunk.subarray(passed))
    return passed === 0 ? null : chunk.subarray(0, passed)
  }

  #waitForRate (limiter: RateLimiter): void {
    const shortage = limiter.shortage(MESSAGES_AT_ONCE)
    if (shortage !== null) this.#gates.options.onRateLimit(shortage.of)
    this.#limitTimer = setTimeout(() => {
      this.#limitTimer = null
      if (this.#phase === 'open' && !this.#stopped) this.connection.client.readOn()
    }, Math.ceil(shortage?.waitMs ?? 1))
  }

  #stop (chunk: Buffer, passed: number): Buffer | null {
    this.#stopped = true
    const { violation } = this.#scanner
    if (violation !== null) {
      this.close()
      this.#gates.options.onViolation(this.connection, violation)
    } else if (this.#scanner.isOver) {
      this.close()
    } else {
      if (passed < chunk.length) this.#socket.unshift(chunk.subarray(passed))
      if (this.#phase === 'open' && !this.#held) this.#gates.add(this)
    }
    return passed === 0 ? null : chunk.subarray(0, passed)
  }
}

/** A gate that has stopped. */
interface Wakeable {
  /** Reads on. Called on an empty stack. */
  wake (): void
}

/** All gates of a broker, which pause and resume together. */
export class ReadGates<C extends GateOwner> {
  readonly options: ReadGatesOptions<C>
  paused = false
  /** Stopped gates, the one that waits longest first. */
  readonly #waiting = new Set<Wakeable>()
  #waking = false

  constructor (options: ReadGatesOptions<C>) {
    this.options = options
  }

  /** Puts a gate before a socket that has not been read yet. */
  guard (socket: Duplex): ReadGate<C> {
    return new ReadGate(this, socket)
  }

  pause (): void {
    this.paused = true
  }

  resume (): void {
    this.paused = false
    this.#schedule()
  }

  /** Adds a stopped gate to those that are woken, in order, while nothing is paused. */
  add (gate: Wakeable): void {
    this.#waiting.add(gate)
    this.#schedule()
  }

  remove (gate: Wakeable): void {
    this.#waiting.delete(gate)
  }

  #schedule (): void {
    if (this.#waking || this.paused || this.#waiting.size === 0) return
    this.#waking = true
    setImmediate(() => {
      this.#waking = false
      this.#wakeSome()
    })
  }

  #wakeSome (): void {
    let woken = 0
    for (const gate of this.#waiting) {
      // A gate that was woken before may have filled the buffer again.
      if (this.paused || woken === WAKES_PER_TURN) break
      this.#waiting.delete(gate)
      gate.wake()
      woken++
    }
    this.#schedule()
  }
}
