/**
 * The deliveries of one subscriber.
 *
 *   deliver ──> queue ──> in flight ── PUBACK ─────────────────────────> done      (QoS 1)
 *                             └─────── PUBREC ──> released ── PUBCOMP ─> done      (QoS 2)
 *
 * A delivery waits in the queue until the window of the connection and its socket have room, gets the next free packet
 * id, and stays in flight under it until it is acknowledged, over however many connections that takes [MQTT-2.3.1-4]. A
 * connection that is attached is first sent what is in flight, in the order in which it was sent before [MQTT-4.4.0-1]
 * [MQTT-4.6.0-1], then the queue. What is published meanwhile joins the end of the queue, so that a topic's messages
 * keep their order [MQTT-4.6.0-6].
 *
 * Copies of retained messages for a new subscription are sent when nothing else is to be sent. When the connection
 * ends, what is left of them joins the queue, as far as its bounds allow.
 *
 * A message of QoS 0 is not queued: it is written at once, or dropped.
 */
import {
  type Delivery, type DeliveryOptions, type Encoded, isExpired, isUnreceived, type Link, type Message, type Subscription, toDeliveryBytes
} from './delivery.ts'
import type { Holder } from './delivery-memory.ts'
import { DeliveryQueue } from './delivery-queue.ts'
import { type CurrentPassage, HeldDeliveries, type Passage } from './held-deliveries.ts'
import { DeliveryAccount } from './delivery-account.ts'
import { InFlight } from './in-flight.ts'
import { type DueCopy, RetainedCopies } from './retained-copies.ts'
import type { SessionOptions } from './session-options.ts'
import { dropByTopic, trimTo } from './shorten.ts'

/** Subscriptions and deliveries of one client. It outlives its connections unless it is a clean session. */
export class Session implements Holder {
  readonly #options: SessionOptions
  readonly #isClean: boolean
  /** Its client: no-local subscriptions leave out the messages of this one. */
  readonly clientId: string
  /** Subscriptions by topic filter. */
  readonly filters = new Map<string, Subscription>()
  readonly #account: DeliveryAccount
  readonly #queue = new DeliveryQueue()
  readonly #inFlight = new InFlight()
  /** In flight from before this connection, and not sent again yet. */
  #resending: Iterator<Delivery> | null = null
  /** The next of them. */
  #resent: Delivery | null = null
  #outstanding = 0
  #link: Link | null = null
  #copies: RetainedCopies | null = null
  #held: HeldDeliveries | null = null
  /** For a session that came from another gateway: whether a message was not delivered there. */
  #isNew: (() => boolean) | null = null

  /** @param isClean - it ends with its connection: unsent bytes and its queue together are bounded as unsent bytes */
  constructor (options: SessionOptions, clientId: string, isClean: boolean) {
    this.#options = options
    this.clientId = clientId
    this.#isClean = isClean
    this.#account = new DeliveryAccount(options, { clientId, isClean, holder: this })
  }

  /** Of all deliveries. */
  get bytes (): number {
    return this.#account.bytes
  }

  get link (): Link | null {
    return this.#link
  }

  /** Deliveries, queued and in flight. */
  get size (): number {
    return this.#queue.length + this.#inFlight.size
  }

  /**
   * Sends a message, or queues it. @param isEarlier - it is earlier than the messages that are set aside
   * @returns false when it was dropped: the bounds leave no room
   */
  deliver (message: Message, qos: 1 | 2, options: DeliveryOptions, isEarlier = false): boolean {
    if (this.#held !== null && !isEarlier) return this.#held.add(message, qos, options) || this.#drop()
    if (this.#isNew !== null && !isEarlier && !this.#isNew()) return true
    const link = this.#link
    const isNext = link !== null && this.#queue.length === 0 && this.#resending === null &&
      this.#outstanding < link.window && !this.#isUnread(link)
    if (!isNext && this.#isClean && link !== null && this.#isUnread(link)) return this.#skip(link)
    if (!this.#hasRoom(toDeliveryBytes(message), isNext)) return this.#drop()
    const delivery = this.#account.begin(message, qos, options)
    if (isNext) this.#send(link, delivery)
    else {
      this.#queue.push(delivery)
      // Other packets may have filled the socket: a session is resumed only after it has waited for room.
      if (this.#queue.length === 1) this.resume()
    }
    this.#copies?.noteLive(message.topic)
    return true
  }

  /** Writes a message of QoS 0, if there is a connection. */
  pass (message: Message, options: DeliveryOptions, encoded: Encoded): void {
    const link = this.#link
    if (link === null) return
    if (this.#isUnread(link)) {
      this.#skip(link)
      return
    }
    link.sendUnacknowledged(message, options, encoded)
    this.#copies?.noteLive(message.topic)
  }

  /** Sends the retained messages that match a new subscription [MQTT-3.3.1-6]. */
  sendRetained (filter: string, { qos, identifiers }: Pick<Subscription, 'qos' | 'identifiers'>): void {
    (this.#copies ??= new RetainedCopies(this.#options.retained)).add(filter, qos, identifiers)
    this.resume()
  }

  /** A connection has its CONNACK. @param mayReceive - whether its principal may see a topic: its role may have changed */
  attach (link: Link, mayReceive: (topic: string) => boolean): void {
    this.#link = link
    this.#outstanding = 0
    this.drop((topic) => !mayReceive(topic))
    const inFlight = this.#inFlight.toArray()
    for (const delivery of inFlight) delivery.isOutstanding = false
    // A copy: deliveries are acknowledged and released meanwhile.
    this.#resending = inFlight.length > 0 ? inFlight.values() : null
    this.#resent = null
    this.resume()
  }

  /** A connection has closed. */
  detach (link: Link): void {
    if (this.#link !== link) return
    this.#link = null
    this.#resending = null
    this.#enqueueCopies()
  }

  /** Sends on, because there is room. */
  resume (): void {
    const link = this.#link
    if (link === null) return
    while (link.hasRoom && this.#sendOne(link));
  }

  /** PUBACK. */
  acknowledge (packetId: number): void {
    const delivery = this.#inFlight.get(packetId)
    if (delivery?.qos === 1) this.#finish(delivery)
  }

  /** PUBREC: the client has the message, and is sent PUBREL [MQTT-4.3.3-1]. @returns whether it is in flight */
  receive (packetId: number): boolean {
    const delivery = this.#inFlight.get(packetId)
    if (delivery?.qos !== 2 || delivery.message === null) return delivery?.qos === 2
    this.#account.moveLast(delivery)
    this.#account.forgetMessage(delivery)
    this.#inFlight.moveLast(delivery)
    return true
  }

  /** PUBCOMP, or a PUBREC that refuses the delivery [MQTT-4.3.3-4]. */
  complete (packetId: number): void {
    const delivery = this.#inFlight.get(packetId)
    if (delivery?.qos === 2) this.#finish(delivery)
  }

  /** Drops deliveries by their topic. @returns how many */
  drop (isMeant: (topic: string) => boolean): number {
    return dropByTopic(this.#deliveries, isMeant)
  }

  trim (bytesMax: number): void {
    trimTo(this.#deliveries, bytesMax, () => { this.#drop() })
  }

  /** All deliveries, in the order in which they are to be sent again. */
  deliveries (): Delivery[] {
    return [...this.#inFlight.toArray(), ...this.#queue.toArray()]
  }

  /** Takes the deliveries that it had elsewhere, in their order. They may be beyond the bounds, which hold for new ones. */
  restore (deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) {
      this.#account.restore(delivery)
      if (delivery.packetId === 0) this.#queue.push(delivery)
      else this.#inFlight.restore(delivery)
    }
  }

  /** Sets aside what is published for it from now on. @see HeldDeliveries */
  hold (passage: CurrentPassage): void {
    this.#held ??= new HeldDeliveries(passage, this.#options.limits)
  }

  /**
   * Delivers what was set aside.
   * @param isNew - whether it was not delivered elsewhere; asked of later messages too, which may come another way
   */
  release (isNew: (passage: Passage) => boolean): void {
    if (this.#held === null) return
    const { passage } = this.#held
    const later = this.#held.later(isNew)
    this.#held = null
    this.#isNew = null
    for (const { message, qos, options } of later) this.deliver(message, qos, options)
    this.#isNew = () => isNew(passage)
  }

  /** Forgets all deliveries. The caller ends the subscriptions. */
  clear (): void {
    this.#account.count(-this.size, -this.bytes)
    this.#queue.clear()
    this.#held = null
    this.#inFlight.clear()
    this.#resending = null
    this.#copies = null
  }

  get #deliveries () {
    return { account: this.#account, queue: this.#queue, inFlight: this.#inFlight }
  }

  /** @returns whether anything was sent */
  #sendOne (link: Link): boolean {
    const window = link.window - this.#outstanding
    if (this.#resending !== null) return this.#resend(link, this.#resending, window)
    const next = this.#queue.first
    if (next !== undefined) {
      if (window <= 0) return false
      this.#queue.shift()
      // Expiry counts only here: a delivery that has begun is completed.
      if (next.message !== null && isExpired(next.message)) this.#account.end(next)
      else this.#send(link, next)
      return true
    }
    return this.#sendCopy(link, window)
  }

  #sendCopy (link: Link, window: number): boolean {
    const copy = this.#copies?.peek() ?? null
    if (copy === null) {
      this.#copies = null
      return false
    }
    if (copy.qos === 0) {
      link.sendUnacknowledged(copy, toCopyOptions(copy), { mqtt3: null, mqtt5: null })
    } else {
      // Tried again at the next acknowledgement, so at least one must be due.
      if (window <= 0 || (this.size > 0 && !this.#hasRoom(toDeliveryBytes(copy), true))) return false
      this.#send(link, this.#account.begin(copy, copy.qos, toCopyOptions(copy)))
    }
    this.#copies?.take()
    return true
  }

  #resend (link: Link, resending: Iterator<Delivery>, window: number): boolean {
    this.#resent ??= resending.next().value ?? null
    const delivery = this.#resent
    if (delivery === null) {
      this.#resending = null
      return true
    }
    const isNeeded = this.#inFlight.get(delivery.packetId) === delivery
    if (isNeeded && isUnreceived(delivery)) {
      if (window <= 0) return false
      this.#write(link, delivery, true)
    } else if (isNeeded) {
      if (delivery.qos === 2) link.release(delivery.packetId)
      else this.#remove(delivery)
    }
    this.#resent = null
    return true
  }

  #send (link: Link, delivery: Delivery): void {
    this.#inFlight.add(delivery)
    this.#account.note(delivery)
    if (isUnreceived(delivery)) this.#write(link, delivery, false)
  }

  #write (link: Link, delivery: Delivery & { readonly message: Message }, isDuplicate: boolean): void {
    delivery.isOutstanding = true
    this.#outstanding++
    // A gateway that takes the session over after the end of this process must know its packet id, or sends it twice.
    const copied = delivery.qos === 2 && !this.#isClean ? this.#options.whenCopied?.() ?? null : null
    if (copied === null) return this.#writeNow(link, delivery, isDuplicate)
    const write = () => {
      if (this.#link !== link || this.#inFlight.get(delivery.packetId) !== delivery) return
      if (isUnreceived(delivery)) this.#writeNow(link, delivery, isDuplicate)
      else this.#finish(delivery)
    }
    copied.then(write, write)
  }

  #writeNow (link: Link, delivery: Delivery & { readonly message: Message }, isDuplicate: boolean): void {
    if (link.send(delivery, isDuplicate)) return
    this.#outstanding--
    this.#remove(delivery)
  }

  #finish (delivery: Delivery): void {
    this.#remove(delivery)
    if (delivery.isOutstanding) this.#outstanding--
    if (this.#queue.length > 0 || this.#copies !== null || this.#resending !== null) this.resume()
  }

  #isUnread (link: Link): boolean {
    return link.unsentBytes + (this.#isClean ? this.#queue.bytes : 0) > this.#options.limits.subscriberBufferBytesMax
  }

  #remove (delivery: Delivery): void {
    this.#inFlight.remove(delivery.packetId)
    this.#account.end(delivery)
  }

  /** @param isNext - it is sent at once, and so needs no room in the queue: the window bounds deliveries in flight */
  #hasRoom (bytes: number, isNext: boolean): boolean {
    return this.#account.hasRoom(bytes, isNext ? 0 : this.#queue.length)
  }

  #drop (): false {
    this.#options.hits.hit('queue')
    return false
  }

  #skip ({ unsentBytes }: Link): false {
    if (unsentBytes !== Infinity) this.#options.onUnread()
    return false
  }

  /** Queues the copies that were not sent before the connection closed. */
  #enqueueCopies (): void {
    const copies = this.#copies
    this.#copies = null
    for (let copy = copies?.peek() ?? null; copy !== null; copy = copies?.peek() ?? null) {
      copies?.take()
      if (copy.qos === 0) continue
      // The rest would be dropped one by one.
      if (!this.#hasRoom(toDeliveryBytes(copy), false)) {
        this.#drop()
        return
      }
      this.#queue.push(this.#account.begin(copy, copy.qos, toCopyOptions(copy)))
    }
  }
}

function toCopyOptions ({ identifiers }: DueCopy): DeliveryOptions {
  return { isRetained: true, identifiers }
}
