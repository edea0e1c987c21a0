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
import { InFlight } from './in-flight.ts'
import { type DueCopy, RetainedCopies } from './retained-copies.ts'
import type { SessionOptions } from './session-options.ts'

/** Subscriptions and deliveries of one client. It outlives its connections unless it is a clean session. */
export class Session implements Holder {
  readonly #options: SessionOptions
  readonly #isClean: boolean
  /** The client that it is of: no-local subscriptions leave its messages out. */
  readonly clientId: string
  /** Subscriptions by topic filter. */
  readonly filters = new Map<string, Subscription>()
  // Most sessions are those of devices that are sent nothing, so these are made when they are needed.
  #queue: Delivery[] | null = null
  #queuedBytes = 0
  readonly #inFlight = new InFlight()
  /** In flight from before this connection, and not sent again yet. */
  #resending: Iterator<Delivery> | null = null
  /** The next of them. */
  #resent: Delivery | null = null
  #outstanding = 0
  #link: Link | null = null
  #copies: RetainedCopies | null = null
  /** Of all deliveries. */
  bytes = 0

  /** @param isClean - it ends with its connection: unsent bytes and its queue together are bounded as unsent bytes */
  constructor (options: SessionOptions, clientId: string, isClean: boolean) {
    this.#options = options
    this.clientId = clientId
    this.#isClean = isClean
  }

  get link (): Link | null {
    return this.#link
  }

  /** Deliveries, queued and in flight. */
  get size (): number {
    return (this.#queue?.length ?? 0) + this.#inFlight.size
  }

  /**
   * Sends a message, or queues it.
   * @returns false when it was dropped: the bounds leave no room
   */
  deliver (message: Message, qos: 1 | 2, options: DeliveryOptions): boolean {
    const link = this.#link
    const isNext = link !== null && (this.#queue === null || this.#queue.length === 0) && this.#resending === null &&
      this.#outstanding < link.window && !this.#isUnread(link)
    if (!isNext && this.#isClean && link !== null && this.#isUnread(link)) return this.#skip(link)
    if (!this.#hasRoom(toDeliveryBytes(message), isNext)) return this.#drop()
    const delivery = this.#add(message, qos, options)
    if (isNext) this.#send(link, delivery)
    else {
      this.#enqueue(delivery)
      // Other packets may have filled the socket: a session is resumed only after it has waited for room.
      if (this.#queue?.length === 1) this.resume()
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

  /**
   * A connection has its CONNACK.
   * @param mayReceive - whether its principal may see a topic: its role may have changed
   */
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
    this.#forgetMessage(delivery)
    this.#inFlight.moveLast(delivery)
    return true
  }

  /** PUBCOMP, or a PUBREC that refuses the delivery [MQTT-4.3.3-4]. */
  complete (packetId: number): void {
    const delivery = this.#inFlight.get(packetId)
    if (delivery?.qos === 2) this.#finish(delivery)
  }

  /**
   * Drops deliveries by their topic. The packet id of one that was sent stays taken until its client has released it:
   * at QoS 1 until it is acknowledged or its connection has closed, at QoS 2 until its PUBREL is answered.
   * @returns how many
   */
  drop (isMeant: (topic: string) => boolean): number {
    let dropped = 0
    this.#queue = this.#queue?.filter((delivery) => {
      if (delivery.message === null || !isMeant(delivery.message.topic)) return true
      dropped++
      this.#queuedBytes -= delivery.bytes
      this.#count(-1, -delivery.bytes)
      return false
    }) ?? null
    for (const delivery of this.#inFlight.toArray()) {
      if (delivery.message === null || !isMeant(delivery.message.topic)) continue
      dropped++
      this.#forgetMessage(delivery)
    }
    return dropped
  }

  /** What is in flight keeps its packet id; it is not sent again. */
  trim (bytesMax: number): void {
    while (this.bytes > bytesMax) {
      const delivery = this.#queue?.pop()
      if (delivery === undefined) break
      this.#queuedBytes -= delivery.bytes
      this.#count(-1, -delivery.bytes)
      this.#drop()
    }
    if (this.bytes <= bytesMax) return
    for (const delivery of this.#inFlight.toArray().reverse()) {
      if (this.bytes <= bytesMax) return
      if (delivery.message === null) continue
      this.#forgetMessage(delivery)
      this.#drop()
    }
  }

  /** Forgets all deliveries. The caller ends the subscriptions. */
  clear (): void {
    this.#count(-this.size, -this.bytes)
    this.#queue = null
    this.#queuedBytes = 0
    this.#inFlight.clear()
    this.#resending = null
    this.#copies = null
  }

  /** @returns whether anything was sent */
  #sendOne (link: Link): boolean {
    const window = link.window - this.#outstanding
    if (this.#resending !== null) return this.#resend(link, this.#resending, window)
    const next = this.#queue?.[0]
    if (next !== undefined) {
      if (window <= 0) return false
      this.#queue?.shift()
      this.#queuedBytes -= next.bytes
      // Only here: a delivery that has begun is completed.
      if (next.message !== null && isExpired(next.message)) this.#count(-1, -next.bytes)
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
      this.#send(link, this.#add(copy, copy.qos, toCopyOptions(copy)))
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
    if (isUnreceived(delivery)) this.#write(link, delivery, false)
  }

  #write (link: Link, delivery: Delivery & { readonly message: Message }, isDuplicate: boolean): void {
    delivery.isOutstanding = true
    this.#outstanding++
    if (link.send(delivery, isDuplicate)) return
    this.#outstanding--
    this.#remove(delivery)
  }

  #finish (delivery: Delivery): void {
    this.#remove(delivery)
    if (delivery.isOutstanding) this.#outstanding--
    if (this.#queue?.length || this.#copies !== null || this.#resending !== null) this.resume()
  }

  #enqueue (delivery: Delivery): void {
    (this.#queue ??= []).push(delivery)
    this.#queuedBytes += delivery.bytes
  }

  #isUnread (link: Link): boolean {
    return link.unsentBytes + (this.#isClean ? this.#queuedBytes : 0) > this.#options.limits.subscriberBufferBytesMax
  }

  #remove (delivery: Delivery): void {
    this.#inFlight.remove(delivery.packetId)
    this.#count(-1, -delivery.bytes)
  }

  #add (message: Message, qos: 1 | 2, { isRetained, identifiers }: DeliveryOptions): Delivery {
    const bytes = toDeliveryBytes(message)
    this.#count(1, bytes)
    return { message, qos, isRetained, identifiers, packetId: 0, isOutstanding: false, bytes }
  }

  #forgetMessage (delivery: Delivery): void {
    const bytes = toDeliveryBytes(null)
    this.#count(0, bytes - delivery.bytes)
    delivery.message = null
    delivery.bytes = bytes
  }

  #count (messages: number, bytes: number): void {
    const wasEmpty = this.bytes === 0
    this.bytes += bytes
    this.#options.memory.count(messages, bytes)
    if (wasEmpty !== (this.bytes === 0)) this.#options.memory.setHolding(this, wasEmpty)
  }

  /**
   * @param isNext - a delivery that is sent at once needs no room in the queue: the window bounds deliveries in flight
   */
  #hasRoom (bytes: number, isNext: boolean): boolean {
    const { queuedMessagesPerSessionMax, queuedBytesPerSessionMax } = this.#options.limits
    return (isNext || (this.#queue?.length ?? 0) < queuedMessagesPerSessionMax) &&
      this.bytes < queuedBytesPerSessionMax && this.#options.memory.makeRoom(this, bytes)
  }

  #drop (): false {
    this.#options.hits.hit('queue')
    return false
  }

  #skip (link: Link): false {
    if (link.unsentBytes !== Infinity) this.#options.onUnread()
    return false
  }

  /** The connection has closed before they were sent. */
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
      this.#enqueue(this.#add(copy, copy.qos, toCopyOptions(copy)))
    }
  }
}

function toCopyOptions ({ identifiers }: DueCopy): DeliveryOptions {
  return { isRetained: true, identifiers }
}
