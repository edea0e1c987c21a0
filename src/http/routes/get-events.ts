import type { OutgoingHttpHeaders } from 'node:http'
import Type from 'typebox'
import { DEVICE_ID_RULE, isDeviceId } from '../../../schemas/device-id.ts'
import { type EventsQuery, EventsQuerySchema } from '../../../schemas/event.ts'
import { EXAMPLES } from '../../../schemas/examples.ts'
import type { Principal } from '../../../schemas/principal.ts'
import type { EventFilter } from '../../events/event-filter.ts'
import type { Events } from '../../events/events.ts'
import type { HttpApp } from '../app.ts'
import { READERS } from '../authentication.ts'
import { HTTP_ERRORS, withDetails } from '../errors.ts'
import { answerLater, EVENT_STREAM_HEADERS } from '../event-stream.ts'
import { errorAnswers } from '../schema-refs.ts'

/** Answers of other routes that this one never gives: see {@link answerLater}. */
const { 429: _, 503: __, ...ERRORS } = errorAnswers('InvalidQuery')

/** `GET /events`: readings as they are stored, and other events of devices, as server-sent events. */
export function getEvents (app: HttpApp, events: Pick<Events, 'hasRoom' | 'listen'>): void {
  const schema = {
    operationId: 'listenToEvents',
    summary: 'Live events',
    description: 'Server-sent events, each with an `id`. Their data is JSON: of `reading` the schema `ReadingEvent`, of ' +
      '`rejected` `RejectedEvent`, of `connected` `ConnectedEvent`, of `disconnected` `DisconnectedEvent`, of `missed` ' +
      '`MissedEvent`. With `Last-Event-ID` the events since then come first, or one `missed`. Temporary faults ' +
      'are answered 200 with a stream that ends at once.',
    tags: ['devices'],
    querystring: EventsQuerySchema,
    response: {
      200: {
        description: 'Events, for as long as the client listens',
        content: { 'text/event-stream': { schema: Type.String(), example: EXAMPLES.events } }
      },
      ...ERRORS
    }
  }
  const config = { access: ['device' as const, ...READERS], isForBrowsers: true, isEventStream: true as const }
  app.get('/events', { schema, config }, (request, reply) => {
    const { principal = null, expiresAtMs, raw: { socket }, method } = request
    const filter = toFilter(request.query)
    if (!mayListen(principal, filter)) throw new HTTP_ERRORS.Forbidden()
    if (!events.hasRoom(principal)) return answerLater(reply, 'too many listeners, or the gateway stops')
    reply.hijack()
    const { raw: sink } = reply
    reply.headers(EVENT_STREAM_HEADERS)
    sink.writeHead(200, reply.getHeaders() as OutgoingHttpHeaders)
    if (method === 'HEAD') {
      sink.end()
      return
    }
    // A client that has closed its side is gone. The server's socket stays half open; only a later write would fail.
    const leave = () => { sink.destroy() }
    socket.once('end', leave)
    sink.once('close', () => { socket.off('end', leave) })
    const lastEventId = request.headers['last-event-id']
    events.listen({ filter, principal, expiresAtMs, lastEventId: [lastEventId].flat()[0], sink })
  })
}

/** @throws `VITAL_INVALID_QUERY` */
function toFilter ({ device: devices, prefix }: EventsQuery): EventFilter {
  if (devices?.every(isDeviceId) === false) {
    throw withDetails(new HTTP_ERRORS.InvalidQuery(),
      [{ path: '/device', message: `must be a device id: ${DEVICE_ID_RULE}` }])
  }
  if (devices !== undefined) return { kind: 'devices', devices: new Set(devices) }
  return prefix === undefined ? { kind: 'all' } : { kind: 'prefix', prefix }
}

/** A device may listen to its own events only. */
function mayListen (principal: Principal | null, filter: EventFilter): boolean {
  if (principal?.role !== 'device') return true
  return filter.kind === 'devices' && filter.devices.size === 1 && filter.devices.has(principal.id)
}
