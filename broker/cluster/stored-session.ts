import type { Principal } from '../../schemas/principal.ts'
import { type Delivery, type QoS, toDeliveryBytes, ownCopy, ownProperties } from '../session/delivery.ts'
import type { SessionState } from '../session/sessions.ts'
import { decodeFrame, encodeFrame, fromUnixMs, type MessageHeader, toMessage, toMessageHeader, toUnixMs } from './frame.ts'
import type { Argument, Reply } from './redis/redis-link.ts'

/** The session of a client as JSON, beside its deliveries. */
interface StoredState {
  readonly owner: Principal | null
  readonly kept: boolean
  readonly subscriptions: ReadonlyArray<
    readonly [filter: string, qos: QoS, noLocal: 0 | 1, asPublished: 0 | 1, identifiers: readonly number[]]
  >
  readonly inbound: readonly number[]
  /** Unix milliseconds; `null`: connected. */
  readonly left: number | null
  readonly ends: number | null
}

/** What Redis has of a client. */
export interface StoredSession {
  readonly state: SessionState
  /** In the order in which they are to be sent. */
  readonly deliveries: readonly Delivery[]
  /** Entry of its owner's stream up to which it is complete. */
  readonly position: string
  /** Numbers of the last messages that it had at the gateway that gave it; `null` once it was written here. */
  readonly seen: Readonly<Record<string, number>> | null
}

type DeliveryHeader = MessageHeader & { readonly i?: readonly number[] }

export function encodeState ({ owner, isKept, subscriptions, inbound, leftAtMs, endsAtMs }: SessionState): string {
  const state: StoredState = {
    owner,
    kept: isKept,
    subscriptions: subscriptions.map(([filter, { qos, noLocal, retainAsPublished, identifiers }]) =>
      [filter, qos, noLocal ? 1 : 0, retainAsPublished ? 1 : 0, identifiers]),
    inbound,
    left: leftAtMs === Infinity ? null : toUnixMs(leftAtMs),
    ends: endsAtMs === null ? null : toUnixMs(endsAtMs)
  }
  return JSON.stringify(state)
}

/** @returns the session as one of a client that is not connected */
export function decodeState (json: string): SessionState {
  const { owner, kept, subscriptions, inbound, left, ends } = JSON.parse(json) as StoredState
  return {
    owner,
    isKept: kept,
    subscriptions: subscriptions.map(([filter, qos, noLocal, asPublished, identifiers]) =>
      [filter, { qos, noLocal: noLocal === 1, retainAsPublished: asPublished === 1, identifiers }]),
    inbound,
    leftAtMs: left === null ? performance.now() : fromUnixMs(left),
    endsAtMs: ends === null ? null : fromUnixMs(ends)
  }
}

/** The fields of a delivery: its message is written once, its packet id when it has one. */
const FIELDS = {
  message: (seq: number) => `d${seq}`,
  flight: (seq: number) => `f${seq}`
} as const

/** @returns fields and values of a delivery; of one without a message `f` alone */
function encodeDelivery ({ seq, message, qos, isRetained, identifiers, packetId }: Delivery): Argument[] {
  if (message === null) return [FIELDS.flight(seq), `${packetId}r`]
  const { header, bodies } = toMessageHeader({ ...message, qos, retain: isRetained })
  const withIdentifiers: DeliveryHeader = identifiers.length === 0 ? header : { ...header, i: identifiers }
  const fields = [FIELDS.message(seq), encodeFrame(withIdentifiers, bodies)]
  return packetId === 0 ? fields : [...fields, FIELDS.flight(seq), String(packetId)]
}

/**
 * What is written of deliveries that changed.
 * @param stored - numbers of those that Redis has; brought up to date
 * @returns fields and values, and fields to delete
 */
export function encodeDeliveries (
  changes: Iterable<readonly [seq: number, delivery: Delivery | null]>, stored: Set<number>
): { readonly fields: Argument[], readonly deleted: string[] } {
  const fields: Argument[] = []
  const deleted: string[] = []
  for (const [seq, delivery] of changes) {
    if (delivery === null) {
      if (stored.delete(seq)) deleted.push(FIELDS.message(seq), FIELDS.flight(seq))
      continue
    }
    const encoded = encodeDelivery(delivery)
    if (delivery.message === null) deleted.push(FIELDS.message(seq))
    // Its message does not change.
    fields.push(...(stored.has(seq) && delivery.message !== null ? encoded.slice(2) : encoded))
    stored.add(seq)
  }
  return { fields, deleted }
}

/** The record of a client: its owner, epoch, session and will. */
export interface StoredRecord {
  readonly owner: string
  readonly epoch: number
  readonly session: StoredSession | null
  /** Its will, encoded; `null`: none. */
  readonly will: Buffer | null
}

/** @param fields - as `HGETALL` answers them */
export function decodeRecord (fields: readonly Reply[]): StoredRecord {
  const valueOf = (name: string) => {
    const at = fields.findIndex((field, index) => index % 2 === 0 && String(field) === name)
    return at === -1 ? null : fields[at + 1] as Buffer
  }
  return {
    owner: String(valueOf('o') ?? ''),
    epoch: Number(String(valueOf('e') ?? 0)),
    session: decodeSession(fields),
    will: valueOf('w')
  }
}

/** @param fields - as `HGETALL` answers them. @returns `null` where there is no session */
export function decodeSession (fields: readonly Reply[]): StoredSession | null {
  let state: SessionState | null = null
  let position = '0-0'
  let seen: StoredSession['seen'] = null
  const messages = new Map<number, Buffer>()
  const flights = new Map<number, string>()
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const name = String(fields[at])
    const value = fields[at + 1] as Buffer
    if (name === 'm') state = decodeState(value.toString())
    else if (name === 's') position = value.toString()
    else if (name === 'n') seen = JSON.parse(value.toString()) as StoredSession['seen']
    else if (/^d\d+$/.test(name)) messages.set(Number(name.slice(1)), value)
    else if (/^f\d+$/.test(name)) flights.set(Number(name.slice(1)), value.toString())
  }
  if (state === null) return null
  const seqs = [...new Set([...messages.keys(), ...flights.keys()])].sort((one, other) => one - other)
  const deliveries = seqs.flatMap((seq) => toDelivery(seq, messages.get(seq), flights.get(seq)))
  // Those that have begun are sent before those that have not.
  const begun = deliveries.filter(({ packetId }) => packetId > 0)
  return { state, deliveries: [...begun, ...deliveries.filter(({ packetId }) => packetId === 0)], position, seen }
}

function toDelivery (seq: number, bytes: Buffer | undefined, flight: string | undefined): Delivery[] {
  const packetId = flight === undefined ? 0 : Number.parseInt(flight, 10)
  const common = { seq, packetId, isOutstanding: false }
  if (flight?.endsWith('r') === true) {
    return [{ ...common, message: null, qos: 2, isRetained: false, identifiers: [], bytes: toDeliveryBytes(null) }]
  }
  if (bytes === undefined) return []
  const { header, bodies } = decodeFrame(bytes)
  const { i: identifiers = [], ...rest } = header as DeliveryHeader
  const { message: { topic, payload, qos, retain, properties } } = toMessage(rest, bodies, 0)
  const message = { topic, payload: ownCopy(payload), properties: ownProperties(properties) }
  return [{ ...common, message, qos: qos === 2 ? 2 : 1, isRetained: retain, identifiers, bytes: toDeliveryBytes(message) }]
}
