import type { Metrics } from '../metrics/metrics.ts'

/** Why the gateway closed a listener. */
export const LISTENER_ENDS = ['expired', 'revoked', 'stalled', 'overfull'] as const

export type ListenerEnd = typeof LISTENER_ENDS[number]

interface EventsStatistics {
  readonly listeners: number
  readonly bytes: number
  readonly sent: number
  readonly missed: number
  /** Listeners that found no room. */
  readonly refused: number
  readonly closed: Readonly<Record<ListenerEnd, number>>
}

export function addEventsMetrics (metrics: Metrics, read: () => EventsStatistics): void {
  metrics.gauge('vital_event_listeners', 'Open requests of GET /events', () => read().listeners)
  metrics.gauge('vital_event_bytes', 'Bytes of events kept for listeners, and of those that no socket took yet',
    () => read().bytes)
  metrics.counter('vital_events_sent_total', 'Events written to listeners, each counted', () => read().sent)
  metrics.counter('vital_events_missed_total',
    'Events dropped before a slow listener took them, each counted; it is told how many', () => read().missed)
  metrics.counter('vital_event_listeners_refused_total', 'Requests of GET /events that were told to come back later, ' +
    'because there were too many', () => read().refused)
  metrics.counters('vital_event_listeners_closed_total', 'Listeners closed by the gateway', ['reason'], () =>
    LISTENER_ENDS.map((reason) => [{ reason }, read().closed[reason]]))
}
