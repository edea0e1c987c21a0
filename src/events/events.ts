/**
 * Live events for applications: readings as they are stored, rejections, devices that connect and leave.
 *
 * No event is kept while there is no listener: the first one begins a new ring with an epoch of its own, and the ring
 * is dropped some minutes after the last one has left. The epoch stands in the id of each event, so an id of another
 * ring, of another gateway or from before a restart is recognised, and its listener is told that it may have missed
 * events.
 */
import { randomBytes } from 'node:crypto'
import type { Logger } from 'pino'
import type { PrincipalReview } from '../../broker/connect/revocations.ts'
import type { ConnectedClient, ConnectionObserver } from '../../broker/connections.ts'
import type { ReadingRow } from '../../db/rows.ts'
import type { StoredObserver } from '../../db/store.ts'
import { isDeviceId } from '../../schemas/device-id.ts'
import type { Principal } from '../../schemas/principal.ts'
import type { Rejection } from '../../schemas/rejection.ts'
import type { Metrics } from '../metrics/metrics.ts'
import { Delivery } from './delivery.ts'
import type { EventFilter } from './event-filter.ts'
import { parseEventId, toPreamble, toReadingJson } from './event-frame.ts'
import type { EventRing } from './event-ring.ts'
import { addEventsMetrics } from './events-metrics.ts'
import { EVENTS_LIMITS, type EventsLimits } from './limits.ts'
import { type EventSink, Listener } from './listener.ts'
import { Listeners } from './listeners.ts'

/** A request for events. */
export interface EventsRequest {
  readonly filter: EventFilter
  readonly principal: Principal | null
  /** Unix milliseconds; infinite for most. */
  readonly expiresAtMs: number
  /** The header `Last-Event-ID`. */
  readonly lastEventId: string | undefined
  readonly sink: EventSink
}

interface EventsOptions {
  /** The time until which a principal may stay, by its present state; see `Security`. */
  readonly untilOf?: PrincipalReview
  readonly limits?: Partial<EventsLimits>
  readonly metrics: Metrics
  readonly logger: Logger
}

export function createEvents ({ untilOf = () => undefined, metrics, logger, ...options }: EventsOptions) {
  const limits: EventsLimits = { ...EVENTS_LIMITS, ...options.limits }
  const before = { sent: 0, missed: 0 }
  let delivery: Delivery | null = null
  /** Stored, and not yet encoded. */
  let stored: Array<readonly ReadingRow[]> = []
  let checks: NodeJS.Timeout | undefined
  let forgetting: NodeJS.Timeout | undefined
  let isStopped = false
  const listeners: Listeners = new Listeners({
    limits,
    onRemoved (listener) {
      delivery?.remove(listener)
      if (listeners.size === 0 && !isStopped) forgetting = setTimeout(end, limits.catchUpMs).unref()
    },
    logger
  })
  addEventsMetrics(metrics, () => ({
    listeners: listeners.size,
    bytes: delivery?.bytes ?? 0,
    sent: before.sent + (delivery?.sent ?? 0),
    missed: before.missed + (delivery?.missed ?? 0),
    refused: listeners.refused,
    closed: listeners.closed
  }))

  /** The ring, which begins with the first listener. */
  function begin (): Delivery {
    clearTimeout(forgetting)
    if (delivery !== null) return delivery
    const epoch = randomBytes(6).toString('hex')
    const begun = new Delivery({ epoch, limits, onOverfull: (listener) => { listeners.close(listener, 'overfull') } })
    checks = setInterval(() => { listeners.check(begun) }, limits.checkIntervalMs)
    delivery = begun
    return begun
  }

  function end (): void {
    clearTimeout(forgetting)
    clearInterval(checks)
    before.sent += delivery?.sent ?? 0
    before.missed += delivery?.missed ?? 0
    delivery?.stop()
    delivery = null
    stored = []
  }

  function encodeStored (): void {
    const batches = stored
    stored = []
    for (const rows of batches) {
      for (const row of rows) delivery?.append(row.device, 'reading', toReadingJson(row))
    }
  }

  function tell (device: string | null, type: string, data: object): void {
    if (device !== null) delivery?.append(device, type, JSON.stringify({ deviceId: device, ...data }))
  }

  const observe: StoredObserver = (rows) => {
    // The acknowledgements of these rows leave first.
    if (delivery !== null && stored.push(rows) === 1) setImmediate(encodeStored)
  }

  const connections: ConnectionObserver = {
    connected (client) {
      if (delivery !== null) tell(deviceOfClient(client), 'connected', { timestamp: Date.now() / 1000 })
    },
    disconnected (client, reason) {
      if (delivery !== null) tell(deviceOfClient(client), 'disconnected', { timestamp: Date.now() / 1000, reason })
    }
  }

  return {
    observe,
    connections,
    /** The listeners as connections that end with their credentials. */
    guarded: listeners,

    /** Something of a device was refused, as it is published on `vital/{device}/rejected`. */
    rejected (device: string, rejection: Rejection): void {
      if (delivery !== null) tell(device, 'rejected', rejection)
    },

    /** Removes the events of a device that is erased. */
    forget (device: string): void {
      delivery?.ring.forget(device)
    },

    /** Whether there is room for one more listener. */
    hasRoom: (principal: Principal | null): boolean => !isStopped && listeners.hasRoom(principal),

    /** Sends events until the client leaves, its credentials end or the gateway stops. */
    listen (request: EventsRequest): void {
      const { filter, principal, expiresAtMs, sink } = request
      const delivery = begin()
      const { cursor, missed } = startOf(request, delivery.ring)
      // The principal may have changed since it was authenticated, before a review could find the listener.
      const untilMs = principal === null ? undefined : untilOf(principal)
      const listener = new Listener({ filter, principal, expiresAtMs: untilMs ?? expiresAtMs, sink, cursor, missed })
      listeners.add(listener)
      const retryMs = Math.round(limits.retryMsMin + Math.random() * (limits.retryMsMax - limits.retryMsMin))
      delivery.write(listener, toPreamble(retryMs, delivery.ring.epoch, cursor - 1))
      delivery.add(listener)
      if (listener.expiresAtMs <= Date.now()) listeners.close(listener, 'revoked')
    },

    /** Ends every stream; browsers come back to the next gateway. Called first, because a stop waits for answers. */
    stop (): void {
      isStopped = true
      listeners.closeAll()
      end()
    }
  }
}

/** Where a listener begins, by the id of the last event that it had. */
function startOf (
  { lastEventId, filter }: EventsRequest, { epoch, first, next }: EventRing
): { readonly cursor: number, readonly missed: number } {
  if (lastEventId === undefined || lastEventId === '') return { cursor: next, missed: 0 }
  const last = parseEventId(lastEventId)
  if (last?.epoch !== epoch || last.sequence >= next) return { cursor: next, missed: NaN }
  const cursor = last.sequence + 1
  if (cursor >= first) return { cursor, missed: 0 }
  // The devices of the dropped events are not known.
  return { cursor: first, missed: filter.kind === 'all' ? first - cursor : NaN }
}

export type Events = ReturnType<typeof createEvents>

/** Device id of a client; `null` for a client that is not a device. In the open mode every client may be one. */
function deviceOfClient ({ clientId, principal }: ConnectedClient): string | null {
  if (principal === null) return isDeviceId(clientId) ? clientId : null
  return principal.role === 'device' ? principal.id : null
}
