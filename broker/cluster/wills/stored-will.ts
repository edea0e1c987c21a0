import type { Principal } from '../../../schemas/principal.ts'
import { ownCopy } from '../../session/delivery.ts'
import type { KeptWill } from '../../wills/will.ts'
import {
  decodeFrame, encodeFrame, fromUnixMs, type MessageHeader, toMessage, toMessageHeader, toUnixMs
} from '../frame.ts'

/** A will as Redis has it: its message, and what it needs without its connection. */
interface WillHeader extends MessageHeader {
  /** Principal of its client. */
  readonly p: Principal | null
  /** Unix milliseconds at which its credentials end. */
  readonly u?: number
  /** 1: of a client of MQTT 5. */
  readonly v?: 1
  /** Milliseconds that it waits. */
  readonly d?: number
  /** Unix milliseconds at which it is published: its client has gone. */
  readonly at?: number
  /** Seconds in which it expires. */
  readonly e?: number
}

export function encodeWill ({ will, isMqtt5, delayMs, dueMs, principal, expiresAtMs }: KeptWill): Buffer {
  const { topic, payload, qos, retain, messageExpiryS, forwarded } = will
  const properties = forwarded === null ? null : { forwarded, expiresAtMs: Infinity }
  const { header, bodies } = toMessageHeader({ topic, payload, qos, retain, properties })
  const stored: WillHeader = {
    ...header,
    p: principal,
    ...(expiresAtMs !== Infinity && { u: expiresAtMs }),
    ...(isMqtt5 && { v: 1 }),
    ...(delayMs > 0 && { d: delayMs }),
    ...(dueMs !== null && { at: toUnixMs(dueMs) }),
    ...(messageExpiryS !== null && { e: messageExpiryS })
  }
  return encodeFrame(stored, bodies)
}

/** @returns `null` for bytes that no gateway of this version has written */
export function decodeWill (bytes: Buffer): KeptWill | null {
  try {
    const { header, bodies } = decodeFrame(bytes)
    const { p: principal, u, v, d = 0, at, e, ...rest } = header as WillHeader
    const { message: { topic, payload, qos, retain, properties } } = toMessage(rest, bodies, 0)
    const views = properties?.forwarded ?? null
    const forwarded = views === null ? null : ownCopy(views)
    return {
      source: bytes,
      will: { topic, payload: ownCopy(payload), qos, retain, messageExpiryS: e ?? null, forwarded },
      isMqtt5: v === 1,
      delayMs: d,
      dueMs: at === undefined ? null : fromUnixMs(at),
      principal,
      expiresAtMs: u ?? Infinity
    }
  } catch {
    return null
  }
}
