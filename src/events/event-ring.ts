/**
 * The events of the last seconds, encoded: the queue of all listeners, and the backlog of a listener that comes back.
 *
 *   first ──> page │ page │ page │ page (being filled) <── next
 *                ▲           ▲              ▲
 *             a listener that reads slowly, with its cursor; most listeners wait at `next`
 *
 * Events have consecutive numbers. Each is encoded once, into pages of some KiB outside of V8's heap: a listener of all
 * events gets whole pages without a copy, and V8 has no event to collect. A listener holds a number instead of a queue,
 * so listeners that do not read cost no memory beside their sockets. Beyond the bound the oldest page is dropped, and
 * `onDropped` counts its events as missed by the listeners that have not taken them.
 */
import { toFrame } from './event-frame.ts'

/** Memory of an event beside its bytes: the id of its device, and two numbers. */
const EVENT_OVERHEAD_BYTES = 64

/** Page of the ring. Changed by {@link EventRing} only. */
export interface EventPage {
  /** Number of its first event. */
  readonly first: number
  /** By event. */
  readonly devices: readonly string[]
}

interface OwnPage extends EventPage {
  readonly bytes: Buffer
  readonly devices: string[]
  /** Where each event ends in `bytes`. */
  readonly ends: number[]
}

interface EventRingOptions {
  /** Part of the id of each event. */
  readonly epoch: string
  readonly bytesMax: number
  readonly pageBytes: number
  /** A page is about to be dropped. */
  readonly onDropped: (page: EventPage) => void
}

export class EventRing {
  readonly #options: EventRingOptions
  readonly #pages: OwnPage[] = []
  #next = 1
  #bytes = 0

  constructor (options: EventRingOptions) {
    this.#options = options
  }

  get epoch (): string {
    return this.#options.epoch
  }

  /** Number of the oldest event that is kept; the number of the next one where none is kept. */
  get first (): number {
    return this.#pages[0]?.first ?? this.#next
  }

  /** Number that the next event gets. */
  get next (): number {
    return this.#next
  }

  get bytes (): number {
    return this.#bytes
  }

  /** @param json - the data. @returns the event's number */
  append (device: string, type: string, json: string): number {
    const sequence = this.#next
    const frame = toFrame(type, this.#options.epoch, sequence, json)
    const size = Buffer.byteLength(frame)
    const page = this.#pageFor(size)
    const at = page.ends.at(-1) ?? 0
    page.bytes.write(frame, at)
    page.devices.push(device)
    page.ends.push(at + size)
    this.#bytes += EVENT_OVERHEAD_BYTES
    this.#next = sequence + 1
    while (this.#bytes > this.#options.bytesMax && this.#pages.length > 1) this.#drop()
    return sequence
  }

  /** The page of an event that is kept. */
  page (sequence: number): EventPage {
    return this.#pages[this.#indexOf(sequence)]!
  }

  /** One event that is kept, as it is sent. */
  frame (sequence: number): string {
    const { first, bytes, ends } = this.#pages[this.#indexOf(sequence)]!
    const at = sequence - first
    return bytes.toString('utf8', ends[at - 1] ?? 0, ends[at])
  }

  /** From an event that is kept to the end of its page, without a copy. @returns also how many events it holds */
  view (sequence: number): { bytes: Buffer, events: number } {
    const { first, bytes, ends } = this.#pages[this.#indexOf(sequence)]!
    const at = sequence - first
    return { bytes: bytes.subarray(ends[at - 1] ?? 0, ends.at(-1)), events: ends.length - at }
  }

  /** Overwrites the events of a device, with a comment of the same length. */
  forget (device: string): void {
    for (const { bytes, devices, ends } of this.#pages) {
      for (let at = devices.indexOf(device); at !== -1; at = devices.indexOf(device, at + 1)) {
        bytes.fill(' ', ends[at - 1] ?? 0, ends[at]).write(':', ends[at - 1] ?? 0)
        bytes.write('\n\n', ends[at]! - 2)
        devices[at] = ''
      }
    }
  }

  #pageFor (size: number): OwnPage {
    const last = this.#pages.at(-1)
    if (last !== undefined && (last.ends.at(-1) ?? 0) + size <= last.bytes.length) return last
    const { pageBytes } = this.#options
    const page: OwnPage = {
      // Not from the pool of Buffer, whose slabs live until the last buffer in them is free.
      first: this.#next, bytes: Buffer.allocUnsafeSlow(Math.max(pageBytes, size)), devices: [], ends: []
    }
    this.#pages.push(page)
    this.#bytes += page.bytes.length
    return page
  }

  #drop (): void {
    const page = this.#pages[0]!
    this.#options.onDropped(page)
    this.#pages.shift()
    this.#bytes -= page.bytes.length + page.ends.length * EVENT_OVERHEAD_BYTES
  }

  /** Most look-ups are for the newest page. */
  #indexOf (sequence: number): number {
    let index = this.#pages.length - 1
    if (this.#pages[index]!.first <= sequence) return index
    let from = 0
    while (from < index) {
      const middle = (from + index + 1) >> 1
      if (this.#pages[middle]!.first <= sequence) from = middle
      else index = middle - 1
    }
    return from
  }
}
