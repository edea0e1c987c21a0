/**
 * The encoding of entries in streams between gateways, and of messages in Redis: the length of a header, the header as
 * JSON, then byte strings whose lengths are in the header.
 */
import type { PublishedMessage } from '../deliver/fan-out.ts'
import type { MessageProperties, QoS } from '../session/delivery.ts'

/** A message without its bytes. */
export interface MessageHeader {
  /** Topic. */
  readonly t: string
  readonly q: QoS
  /** RETAIN. */
  readonly r?: 1
  /** Unix milliseconds after which no delivery of it begins. */
  readonly x?: number
  /** Bytes of its forwarded properties, and of its payload. */
  readonly f?: number
  readonly l: number
}

/** One of the messages of an entry. */
export interface RoutedHeader extends MessageHeader {
  /** Its number among all messages of its gateway. */
  readonly n: number
  /** Client id of the publisher, where its own subscriptions may leave it out. */
  readonly c?: string
  /** Shared subscriptions that the gateway has the turn of. */
  readonly s?: readonly string[]
}

/** What one gateway tells another. */
export type Notice =
  /** Messages. */
  | { readonly t: 'm', readonly m: readonly RoutedHeader[] }
  /** Its subscribers want the filters `add`, and no longer `del`; to be answered with `known`. */
  | { readonly t: 'i', readonly v: number, readonly add: readonly string[], readonly del: readonly string[] }
  | { readonly t: 'known', readonly v: number }
  /** A client of the other gateway has connected here. */
  | { readonly t: 'ask', readonly c: string, readonly anew: boolean, readonly id: string }
  /** Its connection there is closed; this is its session, as JSON. */
  | { readonly t: 'ready', readonly id: string, readonly m: string }
  /** Messages for it are kept here from now on. */
  | { readonly t: 'take', readonly id: string }
  /** It was given away; an epoch of 0: it was not, or there is none. */
  | { readonly t: 'gone', readonly id: string, readonly epoch: number }
  /** A device is erased. */
  | { readonly t: 'erase', readonly device: string }

/** A notice as it lies in a stream: `o` the gateway that wrote it, `k` its number among those for this gateway. */
export type Frame = Notice & { readonly o: string, readonly k: number }

const LENGTH_BYTES = 4

export function encodeFrame (header: object, bodies: readonly Buffer[]): Buffer {
  const json = Buffer.from(JSON.stringify(header))
  const length = Buffer.allocUnsafe(LENGTH_BYTES)
  length.writeUInt32BE(json.length)
  return Buffer.concat([length, json, ...bodies])
}

/** @throws for bytes that no gateway of this version has written */
export function decodeFrame (bytes: Buffer): { readonly header: unknown, readonly bodies: Buffer } {
  const end = LENGTH_BYTES + bytes.readUInt32BE(0)
  return { header: JSON.parse(bytes.toString('utf8', LENGTH_BYTES, end)), bodies: bytes.subarray(end) }
}

type AnyMessage = Pick<PublishedMessage, 'topic' | 'payload' | 'qos' | 'retain' | 'properties'>

/** @returns the header of a message, and the bytes that belong to it */
export function toMessageHeader ({ topic, payload, qos, retain, properties }: AnyMessage): { header: MessageHeader, bodies: Buffer[] } {
  const forwarded = properties?.forwarded ?? null
  const expiresAtMs = properties?.expiresAtMs ?? Infinity
  const header: MessageHeader = {
    t: topic,
    q: qos,
    ...(retain && { r: 1 }),
    ...(expiresAtMs !== Infinity && { x: toUnixMs(expiresAtMs) }),
    ...(forwarded !== null && { f: forwarded.length }),
    l: payload.length
  }
  return { header, bodies: forwarded === null ? [payload] : [forwarded, payload] }
}

/** The inverse of {@link toMessageHeader}. @returns the message, and where its bytes end */
export function toMessage ({ t, q, r, x, f, l }: MessageHeader, bodies: Buffer, at: number): { message: AnyMessage, end: number } {
  const payloadAt = at + (f ?? 0)
  const end = payloadAt + l
  const properties: MessageProperties | null = f === undefined && x === undefined
    ? null
    : { forwarded: f === undefined ? null : bodies.subarray(at, payloadAt), expiresAtMs: x === undefined ? Infinity : fromUnixMs(x) }
  return { message: { topic: t, payload: bodies.subarray(payloadAt, end), qos: q, retain: r === 1, properties }, end }
}

/** Gateways have clocks of their own, and `performance.now()` begins anew with each. */
export function toUnixMs (ms: number): number {
  return Math.round(Date.now() + ms - performance.now())
}

/** The inverse of {@link toUnixMs}. */
export function fromUnixMs (unixMs: number): number {
  return unixMs - Date.now() + performance.now()
}
