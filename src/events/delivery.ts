/**
 * Brings events from the ring to the sockets of the listeners.
 *
 *   append ──> ring ──> noted by the listeners that asked for the device ──> every 50 ms: one write for each of them
 *                                                                              │ the socket is full: stalled
 *                                                                              ▼
 *                                                                  drained: searches the ring from its cursor
 *
 * The numbers of a listener's events since its last write are noted for it, so that a thousand listeners of single
 * devices do not cost a thousand checks an event. A listener without a filter needs no note, because it gets whole
 * pages. A listener whose socket is full notes nothing. Once the socket is drained, it searches the ring from its
 * cursor. Events that the ring dropped meanwhile were counted for it, and it gets their number first (`missed`).
 *
 * Delivery takes turns of some milliseconds, with a longer rest after each that was used up. Listeners that cannot be
 * served so fast fall behind in the ring and miss events. Acknowledgements do not wait for them.
 */
import { EventRing, type EventPage } from './event-ring.ts'
import { FilterIndex, matchesFilter } from './event-filter.ts'
import { toFrame } from './event-frame.ts'
import type { EventsLimits } from './limits.ts'
import type { Listener } from './listener.ts'

interface DeliveryOptions {
  readonly epoch: string
  readonly limits: EventsLimits
  /** Called for a listener whose socket takes nothing while all listeners together hold too much. */
  readonly onOverfull: (listener: Listener) => void
}

export class Delivery {
  readonly ring: EventRing
  readonly #limits: EventsLimits
  readonly #onOverfull: (listener: Listener) => void
  readonly #index = new FilterIndex<Listener>()
  /** Listeners that have something to send and may write. */
  readonly #due = new Set<Listener>()
  /** In the order in which they stalled. */
  readonly #stalled = new Set<Listener>()
  #unsentBytes = 0
  /** The event that is being noted; a closure for each event would cost more than the look-up. */
  #sequence = 0
  #isScheduled = false
  #isStopped = false
  #nextAtMs = 0
  #sent = 0
  #missed = 0

  constructor ({ epoch, limits, onOverfull }: DeliveryOptions) {
    this.#limits = limits
    this.#onOverfull = onOverfull
    const { ringBytesMax: bytesMax, pageBytes } = limits
    this.ring = new EventRing({ epoch, bytesMax, pageBytes, onDropped: (page) => { this.#countMissed(page) } })
  }

  /** Bytes in the ring, and bytes that sockets had not taken at the last check. */
  get bytes (): number {
    return this.ring.bytes + this.#unsentBytes
  }

  /** Events written to a socket, of all listeners together. */
  get sent (): number {
    return this.#sent
  }

  /** Events that were dropped before a listener took them, of all listeners together. */
  get missed (): number {
    return this.#missed
  }

  append (device: string, type: string, json: string): void {
    this.#sequence = this.ring.append(device, type, json)
    this.#index.visit(device, this.#note)
    if (this.#due.size > 0 || this.#index.all.size > 0) this.#schedule()
  }

  add (listener: Listener): void {
    this.#index.add(listener.filter, listener)
    listener.sink.on('drain', () => { this.#resume(listener) })
    this.#due.add(listener)
    this.#schedule()
  }

  remove (listener: Listener): void {
    listener.isClosed = true
    this.#index.remove(listener.filter, listener)
    this.#due.delete(listener)
    this.#leaveStall(listener)
  }

  /** Whether all of its events so far were sent. */
  isIdle (listener: Listener): boolean {
    if (listener.isStalled || this.#due.has(listener)) return false
    return listener.filter.kind !== 'all' || listener.cursor === this.ring.next
  }

  /** Moves the cursor of an idle listener to the end of the ring. */
  catchUp (listener: Listener): void {
    listener.cursor = this.ring.next
  }

  /** Notes the time of the last progress of a stalled listener. */
  look (listener: Listener, nowMs: number): void {
    const { writableLength } = listener.sink
    if (writableLength >= listener.unsentBytes) return
    this.#unsentBytes += writableLength - listener.unsentBytes
    listener.unsentBytes = writableLength
    listener.stalledAtMs = nowMs
  }

  /** @returns false when the socket is full: nothing more may be written until it has drained */
  write (listener: Listener, chunk: string | Buffer): boolean {
    const nowMs = performance.now()
    listener.wroteAtMs = nowMs
    if (listener.sink.write(chunk)) return true
    if (listener.isStalled) return false
    listener.isStalled = true
    listener.noted = null
    listener.stalledAtMs = nowMs
    listener.unsentBytes = listener.sink.writableLength
    this.#unsentBytes += listener.unsentBytes
    this.#stalled.add(listener)
    return false
  }

  stop (): void {
    this.#isStopped = true
    this.#due.clear()
  }

  readonly #note = (listener: Listener): void => {
    if (listener.isStalled) return
    if (listener.noted !== null) {
      if (listener.noted.length < this.#limits.notedMax) listener.noted.push(this.#sequence)
      else listener.noted = null
    }
    this.#due.add(listener)
  }

  #resume (listener: Listener): void {
    this.#leaveStall(listener)
    if (listener.isClosed) return
    this.#due.add(listener)
    this.#schedule()
  }

  #leaveStall (listener: Listener): void {
    if (!listener.isStalled) return
    listener.isStalled = false
    this.#stalled.delete(listener)
    this.#unsentBytes -= listener.unsentBytes
    listener.unsentBytes = 0
  }

  /** A page of the ring is about to be dropped: listeners that have not come so far miss its events. */
  #countMissed ({ first, devices }: EventPage): void {
    const next = first + devices.length
    for (const listener of this.#index.all) {
      if (listener.cursor < next) this.#miss(listener, next - Math.max(first, listener.cursor))
    }
    let sequence = first
    const missOne = (listener: Listener) => { if (listener.cursor <= sequence) this.#miss(listener, 1) }
    for (const device of devices) {
      this.#index.visit(device, missOne)
      sequence++
    }
  }

  #miss (listener: Listener, count: number): void {
    listener.missed += count
    this.#missed += count
  }

  #schedule (): void {
    if (this.#isScheduled || this.#isStopped) return
    this.#isScheduled = true
    const waitMs = this.#nextAtMs - performance.now()
    if (waitMs <= 0) setImmediate(this.#deliver)
    else setTimeout(this.#deliver, waitMs)
  }

  readonly #deliver = (): void => {
    this.#isScheduled = false
    const { turnMs, turnRest, deliveryIntervalMs } = this.#limits
    const startMs = performance.now()
    for (const listener of this.#index.all) {
      if (!listener.isStalled && listener.cursor < this.ring.next) this.#due.add(listener)
    }
    let nowMs = startMs
    for (const listener of this.#due) {
      this.#due.delete(listener)
      // A listener that has more to send is added again at the end.
      this.#send(listener)
      nowMs = performance.now()
      if (nowMs - startMs > turnMs) break
    }
    while (this.#unsentBytes > this.#limits.unsentBytesMax) {
      const [longest] = this.#stalled
      this.#onOverfull(longest!)
    }
    this.#nextAtMs = this.#due.size > 0 ? nowMs + (nowMs - startMs) * turnRest : startMs + deliveryIntervalMs
    if (this.#due.size > 0) this.#schedule()
  }

  #send (listener: Listener): void {
    const { ring } = this
    if (listener.cursor < ring.first) {
      listener.cursor = ring.first
      if (listener.noted !== null) listener.noted = listener.noted.filter((sequence) => sequence >= ring.first)
    }
    if (listener.missed !== 0) {
      // JSON has no NaN: it becomes null.
      const frame = toFrame('missed', ring.epoch, listener.cursor - 1, JSON.stringify({ count: listener.missed }))
      listener.missed = 0
      if (!this.write(listener, frame)) return
    }
    if (listener.filter.kind === 'all') this.#sendPage(listener)
    else if (listener.noted === null) this.#sendFound(listener)
    else this.#sendNoted(listener, listener.noted)
  }

  #sendPage (listener: Listener): void {
    if (listener.cursor === this.ring.next) return
    const { bytes, events } = this.ring.view(listener.cursor)
    listener.cursor += events
    this.#sent += events
    if (this.write(listener, bytes) && listener.cursor < this.ring.next) this.#due.add(listener)
  }

  #sendNoted (listener: Listener, noted: number[]): void {
    listener.noted = []
    let text = ''
    for (const sequence of noted) {
      text += this.ring.frame(sequence)
      listener.cursor = sequence + 1
      this.#sent++
      if (text.length < this.#limits.pageBytes) continue
      if (!this.write(listener, text)) return
      text = ''
    }
    if (text === '' || this.write(listener, text)) listener.cursor = this.ring.next
  }

  /** Searches a part of the ring; the next turn searches the next part. */
  #sendFound (listener: Listener): void {
    const { ring } = this
    const { pageBytes, scannedMax } = this.#limits
    const end = Math.min(ring.next, listener.cursor + scannedMax)
    let text = ''
    while (listener.cursor < end && text.length < pageBytes) {
      const { first, devices } = ring.page(listener.cursor)
      const pageEnd = Math.min(end, first + devices.length)
      for (; listener.cursor < pageEnd && text.length < pageBytes; listener.cursor++) {
        if (!matchesFilter(listener.filter, devices[listener.cursor - first]!)) continue
        text += ring.frame(listener.cursor)
        this.#sent++
      }
    }
    if (text !== '' && !this.write(listener, text)) return
    if (listener.cursor === ring.next) listener.noted = []
    else this.#due.add(listener)
  }
}
