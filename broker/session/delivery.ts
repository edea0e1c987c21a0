export type QoS = 0 | 1 | 2

/** The parts of an MQTT 5 message beside topic and payload. Messages of MQTT 3.1.1 have none. */
export interface MessageProperties {
  /**
   * The properties that are passed on unaltered, as they were encoded (MQTT 5 §3.3.2.3): payload format, content type,
   * response topic, correlation data and user properties. `null`: none.
   */
  readonly forwarded: Buffer | null
  /** After this no delivery of it begins, by `performance.now()`; infinite without a Message Expiry Interval. */
  readonly expiresAtMs: number
}

/** A topic filter's options in one session (MQTT 5 §3.8.3.1). */
export interface Subscription {
  /** Granted. */
  readonly qos: QoS
  /** Messages of the session's own client are left out. */
  readonly noLocal: boolean
  /** Messages keep their RETAIN flag. */
  readonly retainAsPublished: boolean
  /** Subscription identifiers: none or one; several where subscriptions of one session overlap. */
  readonly identifiers: readonly number[]
}

const NO_IDENTIFIERS: readonly number[] = []

/** Subscriptions of MQTT 3.1.1, by granted QoS. */
const PLAIN: readonly Subscription[] = ([0, 1, 2] as const)
  .map((qos) => ({ qos, noLocal: false, retainAsPublished: false, identifiers: NO_IDENTIFIERS }))

/** @returns the subscription of MQTT 3.1.1 with a QoS; the same object each time */
export function toSubscription (qos: QoS): Subscription {
  return PLAIN[qos]!
}

/**
 * A message as sessions keep it. Its payload is a copy: the original would keep a chunk of the publisher's socket in
 * memory.
 */
export interface Message {
  readonly topic: string
  readonly payload: Buffer
  readonly properties: MessageProperties | null
}

/** One message on its way to one session, at the QoS of that session's subscription. */
export interface Delivery {
  /** Its place among the deliveries of its session, which are sent in this order. Changed at PUBREC alone. */
  seq: number
  /** `null` once PUBREC has come: only the PUBREL is left to send. */
  message: Message | null
  readonly qos: 1 | 2
  /** Of its PUBLISH: set for the copy of a retained message for a new subscription [MQTT-3.3.1-8]. */
  readonly isRetained: boolean
  /** Identifiers of the subscriptions that it matched. */
  readonly identifiers: readonly number[]
  /** 0 until it is sent for the first time. */
  packetId: number
  /** Its PUBLISH went out on the present connection and is not acknowledged. */
  isOutstanding: boolean
  /** Its share of the bounds in bytes. */
  bytes: number
}

/** How a message goes to one subscriber. */
export interface DeliveryOptions {
  /** The RETAIN flag of its PUBLISH. */
  readonly isRetained: boolean
  /** Of the subscriptions that it matched. */
  readonly identifiers: readonly number[]
}

/** Whether a delivery's message is still to be received. */
export function isUnreceived (delivery: Delivery): delivery is Delivery & { readonly message: Message } {
  return delivery.message !== null
}

/** A message of QoS 0 as it is written, made once for all connections of a protocol. */
export interface Encoded {
  mqtt3: Buffer | null
  mqtt5: Buffer | null
}

/** A connection as a session sees it. Its protocol is known to the implementation only. */
export interface Link {
  /** Deliveries of QoS 1 and 2 that may be unacknowledged on it at once. */
  readonly window: number
  /** Whether it takes more now. If not, it calls `Session.resume` once it does, unless it closes. */
  readonly hasRoom: boolean
  /** Bytes that the kernel has not taken yet; infinite once it is closed. */
  readonly unsentBytes: number
  /** Sends a message of QoS 0. */
  sendUnacknowledged (message: Message, options: DeliveryOptions, encoded: Encoded): void
  /**
   * Sends PUBLISH under the delivery's packet id.
   * @returns false when the client takes no packet of that size: the delivery is over
   */
  send (delivery: Delivery & { readonly message: Message }, isDuplicate: boolean): boolean
  /** Sends PUBREL. */
  release (packetId: number): void
}

/** An object, its entries in a queue or a map, and its share of a buffer. */
const DELIVERY_BYTES = 300

/** Bytes that a delivery of `message` counts as; a message that several sessions share counts in each. */
export function toDeliveryBytes (message: Message | null): number {
  if (message === null) return DELIVERY_BYTES
  const { topic, payload, properties } = message
  return DELIVERY_BYTES + topic.length * 2 + payload.length + (properties?.forwarded?.length ?? 0)
}

/** Whether no delivery of a message may begin any more [MQTT-3.3.2-5]. */
export function isExpired ({ properties }: Message): boolean {
  return properties !== null && properties.expiresAtMs !== Infinity && properties.expiresAtMs <= performance.now()
}

/** @returns the properties in memory of their own */
export function ownProperties (properties: MessageProperties | null | undefined): MessageProperties | null {
  if (properties === null || properties === undefined) return null
  const { forwarded, expiresAtMs } = properties
  return { forwarded: forwarded === null ? null : ownCopy(forwarded), expiresAtMs }
}

/** @returns `payload` in memory of its own */
export function ownCopy (payload: Buffer | string): Buffer {
  const source = typeof payload === 'string' ? Buffer.from(payload) : payload
  const copy = Buffer.allocUnsafeSlow(source.length)
  source.copy(copy)
  return copy
}
