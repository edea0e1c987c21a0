/**
 * Backpressure towards publishers.
 *
 * Aedes reads a stream on each `readable` event, however many publishes it has been made to hold, and neither
 * `client.pause()` nor `socket.pause()` stops it without harm. So the gate stands in the socket's own `read`:
 *
 * - `first`: until CONNACK is sent, one packet passes, the CONNECT, and the rest waits in the socket. Aedes would queue 42 and then disconnect.
 * - `open`: chunks pass as they come; only their packet lengths are looked at. Publishes for the express lane are taken
 *   from the front of a chunk, and what follows passes up to the next one.
 * - resting: the connection has sent more than its rate allows, so nothing passes until some time has gone by.
 * - paused (all gates) or held (this one): packets pass up to the next PUBLISH, then the gate is `stopped` and the socket is not read, so that TCP
 *   pushes back. Pings, subscriptions and acknowledgements of clients that do not publish keep flowing: an operator can watch through an outage.
 *
 * A stream asks its source for more while it is read, before it can know that most of what it gives will come back. So the gate passes such a request on
 * only once nothing lies in the stream: else a connection that sends faster than it may would fill memory by a chunk each time it is woken.
 *
 * A chunk that comes while nothing lies in the stream is offered to the express lane before it enters it: buffering, telling of it in the next tick and
 * reading it again took a tenth of the gateway's time for a fleet, in which each read brings one publish.
 *
 * What may not pass goes back by `unshift`, so it stays in the stream's own buffer and `end` waits for it: a client
 * that published, disconnected and left is still read. A stopped gate opens only from the event loop: Aedes' parser is
 * not re-entrant, so nothing may be left to read while it works on a chunk.
 */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Connection, readOn } from '../connections.ts'
import type { ExpressLane } from './fast-path.ts'
import { FrameScanner, type FrameViolation, isPublishQos1, SCAN, type ScanMode, type Traffic } from './packet-scanner.ts'
import { messagesOf, PACKET_BYTES_MIN, toControlMessages } from './message-weights.ts'
import { createRateLimiter, type RateLimiter, type Rates } from './rate-limiter.ts'

/** Gates woken in one turn of the event loop: a resumption of thousands leaves room for timers and writes. */
const WAKES_PER_TURN = 64

export interface ReadGatesOptions {
  readonly traffic: Traffic
  readonly connectPacketBytesMax: number
  readonly packetBytesMax: number
  /** Of each connection; 0 is no limit. */
  readonly rates: Rates
  readonly onViolation: (connection: Connection, violation: FrameViolation) => void
  readonly onRest: (of: 'messages' | 'bytes') => void
}

/** A connection rests until so many messages may pass, so that it does not wake for each. */
const MESSAGES_AT_ONCE = 64

/** The gate of one socket. Made by {@link ReadGates.guard}. */
export class ReadGate {
  readonly #gates: ReadGates
  readonly #socket: Duplex
  readonly #read: Duplex['read']
  readonly #scanner: FrameScanner
  /** `null`: as fast as it likes. */
  readonly #limiter: RateLimiter | null
  readonly #fill: Duplex['_read']
  readonly #push: Duplex['push']
  /** The stream has asked its source for more, and was not heard yet. */
  #isHungry = false
  #isReading = false
  #phase: 'first' | 'open' | 'closed' = 'first'
  #stopped = false
  #held = false
  #resting: NodeJS.Timeout | null = null
  #lane: ExpressLane | null = null
  /** The beginning of a publish for the lane. */
  #carried: Buffer | null = null
  /** Set once there is one, before anything is read. */
  connection!: Connection

  constructor (gates: ReadGates, socket: Duplex) {
    const { traffic, connectPacketBytesMax, rates } = gates.options
    this.#gates = gates
    this.#socket = socket
    this.#read = socket.read
    this.#fill = socket._read
    this.#push = socket.push
    this.#scanner = new FrameScanner({ traffic, packetBytesMax: connectPacketBytesMax })
    this.#limiter = createRateLimiter(rates, performance.now())
    // Named first: written into a property where it stands, a function is made in V8's old generation, and keeps its connection until it is collected there.
    const read = (bytes?: number) => {
      const chunk = this.#pass(bytes)
      this.#feed()
      return chunk
    }
    const fill = (bytes: number) => {
      if (this.#isReading) this.#isHungry = true
      else this.#fill.call(socket, bytes)
    }
    const push = (chunk: unknown, encoding?: BufferEncoding) => this.#offer(chunk, encoding)
    Object.assign(socket, { read, _read: fill })
    // Only of a socket, which reads on by itself; other streams are asked again once what they gave has been read.
    if (socket instanceof Socket) socket.push = push
  }

  /** Whether it stops at the next PUBLISH. */
  get isStopping (): boolean {
    return this.#held || this.#gates.paused || this.#phase !== 'open'
  }

  /** Whether what comes now begins with a packet, and would be read next. */
  get #isFree (): boolean {
    // Whatever stops a gate or lets it rest leaves something in the stream.
    return !this.isStopping && this.#scanner.atBoundary && this.#socket.readableLength === 0
  }

  /** Publishes that `lane` takes no longer reach Aedes. */
  use (lane: ExpressLane): void {
    this.#lane = lane
  }

  /** CONNACK is sent: lets the packets behind CONNECT pass. Aedes reads on by itself right after. */
  open (): void {
    if (this.#phase !== 'first') return
    this.#phase = 'open'
    this.#stopped = false
    this.#scanner.packetBytesMax = this.#gates.options.packetBytesMax
  }

  /** Stops at this client's next PUBLISH. @returns false when it does already */
  hold (): boolean {
    const isNew = !this.#held
    this.#held = true
    return isNew
  }

  /** Ends {@link ReadGate.hold}. */
  release (): void {
    if (!this.#held) return
    this.#held = false
    if (this.#stopped && this.#phase === 'open') this.#gates.enlist(this)
  }

  /** Nothing passes any more. */
  close (): void {
    this.#phase = 'closed'
    this.#stopped = true
    if (this.#resting !== null) clearTimeout(this.#resting)
    this.#gates.strike(this)
  }

  /** For {@link ReadGates}, on an empty stack. */
  wake (): void {
    if (this.#phase !== 'open' || !this.#stopped || this.#held) return
    this.#stopped = false
    readOn(this.connection.client)
  }

  /** @returns whether the socket may read on */
  #offer (chunk: unknown, encoding?: BufferEncoding): boolean {
    const lane = this.#lane
    // `null` is the end of the stream.
    if (lane === null || !(chunk instanceof Buffer) || !this.#isFree) return this.#push.call(this.#socket, chunk, encoding)
    const rest = this.#express(lane, chunk)
    return rest === null || this.#push.call(this.#socket, rest)
  }

  #pass (bytes?: number): Buffer | null {
    // read(0) is the stream asking its source for more, or noticing its end; it returns no data.
    if (bytes === 0) return this.#read.call(this.#socket, 0)
    // What lies in a destroyed stream could still be read.
    if (this.#stopped || this.#resting !== null || this.#socket.destroyed) return null
    this.#isReading = true
    const chunk = this.#read.call(this.#socket) as Buffer | null
    this.#isReading = false
    if (chunk === null) return null
    const scanner = this.#scanner
    if (this.#phase === 'first') {
      const passed = scanner.scan(chunk, SCAN.onePacket)
      return scanner.violation === null && !scanner.atBoundary ? chunk : this.#stop(chunk, passed)
    }
    const rest = this.#lane === null || !scanner.atBoundary ? chunk : this.#express(this.#lane, chunk)
    if (rest === null) return null
    const mode = this.isStopping ? SCAN.untilPublish : this.#lane === null ? SCAN.all : SCAN.untilExpress
    if (this.#limiter !== null) return this.#passLimited(rest, mode, this.#limiter)
    const passed = scanner.scan(rest, mode)
    return passed === rest.length && scanner.violation === null ? rest : this.#stop(rest, passed)
  }

  #feed (): void {
    const socket = this.#socket
    if (!this.#isHungry || socket.readableLength > 0) return
    this.#isHungry = false
    if (!socket.destroyed) this.#fill.call(socket, socket.readableHighWaterMark)
  }

  /** @returns what is not for the lane, or not yet; `null` when nothing is left for now */
  #express (lane: ExpressLane, chunk: Buffer): Buffer | null {
    const whole = this.#carried === null ? chunk : Buffer.concat([this.#carried, chunk])
    this.#carried = null
    this.#limiter?.fill(performance.now())
    const { bytes, isPartial } = lane.take(whole, this, this.#limiter)
    // A publish that is forbidden or over a limit closes the gate.
    if (this.#phase === 'closed' || bytes === whole.length) return null
    const rest = bytes === 0 ? whole : whole.subarray(bytes)
    if (!isPartial) return rest
    // Copied, or a few bytes would keep the chunk in memory.
    this.#carried = Buffer.from(rest)
    return null
  }

  /** Lets pass what its rate allows. Costs a clock and two subtractions a chunk, unless that may hold too many packets. */
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
          (mode === SCAN.untilExpress && passed < end && isPublishQos1(chunk[passed] as number))
      }
    }
    limiter.spend(messagesOf(traffic, control) - before, passed)
    if (stopped) return this.#stop(chunk, passed)
    if (passed === chunk.length) return chunk
    this.#rest(limiter)
    this.#socket.unshift(chunk.subarray(passed))
    return passed === 0 ? null : chunk.subarray(0, passed)
  }

  #rest (limiter: RateLimiter): void {
    const shortage = limiter.shortage(MESSAGES_AT_ONCE)
    if (shortage !== null) this.#gates.options.onRest(shortage.of)
    this.#resting = setTimeout(() => {
      this.#resting = null
      if (this.#phase === 'open' && !this.#stopped) readOn(this.connection.client)
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
      if (this.#phase === 'open' && !this.#held) this.#gates.enlist(this)
    }
    return passed === 0 ? null : chunk.subarray(0, passed)
  }
}

/** All gates of a broker, which pause and resume together. */
export class ReadGates {
  readonly options: ReadGatesOptions
  paused = false
  /** Stopped gates, the one that waits longest first. */
  readonly #waiting = new Set<ReadGate>()
  #waking = false

  constructor (options: ReadGatesOptions) {
    this.options = options
  }

  /** Publishers that are stopped now. */
  get stopped (): number {
    return this.#waiting.size
  }

  /** Puts a gate before a socket that nobody reads yet. */
  guard (socket: Duplex): ReadGate {
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
  enlist (gate: ReadGate): void {
    this.#waiting.add(gate)
    this.#schedule()
  }

  strike (gate: ReadGate): void {
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
