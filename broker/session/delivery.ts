export type QoS = 0 | 1 | 2

/**
 * A message as sessions keep it. Its payload is a copy: the original would keep a chunk of the publisher's socket in
 * memory.
 */
export interface Message {
  readonly topic: string
  readonly payload: Buffer
}

/** One message on its way to one session, at the QoS of that session's subscription. */
export interface Delivery {
  /** `null` once PUBREC has come: only the PUBREL is left to send. */
  message: Message | null
  readonly qos: 1 | 2
  /** It is a copy of a retained message for a new subscription [MQTT-3.3.1-8]. */
  readonly isRetained: boolean
  /** 0 until it is sent for the first time. */
  packetId: number
  /** Its PUBLISH went out on the present connection and is not acknowledged. */
  isOutstanding: boolean
  /** Its share of the bounds in bytes. */
  bytes: number
}

/** A message of QoS 0 as it is written, made once for all connections of a protocol. */
export interface Encoded {
  mqtt3: Buffer | null
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
  sendUnacknowledged (message: Message, isRetained: boolean, encoded: Encoded): void
  /** Sends PUBLISH under the delivery's packet id. */
  send (delivery: Delivery & { readonly message: Message }, isDuplicate: boolean): void
  /** Sends PUBREL. */
  release (packetId: number): void
}

/** An object, its entries in a queue or a map, and its share of a buffer. */
const DELIVERY_BYTES = 300

/** Bytes that a delivery of `message` counts as; a message that several sessions share counts in each. */
export function toDeliveryBytes (message: Message | null): number {
  return message === null ? DELIVERY_BYTES : DELIVERY_BYTES + message.topic.length * 2 + message.payload.length
}

/** @returns `payload` in memory of its own */
export function ownCopy (payload: Buffer | string): Buffer {
  const source = typeof payload === 'string' ? Buffer.from(payload) : payload
  const copy = Buffer.allocUnsafeSlow(source.length)
  source.copy(copy)
  return copy
}
