/**
 * Every limit that can be met, by its label of the metric `vital_mqtt_limit_hits_total{limit}`. README.md tells what
 * each does.
 */
export const LIMIT_NAMES = [
  'connections', 'connections_per_address', 'connects_per_second', 'connect_time', 'connect_bytes',
  'authentication_time', 'held_logins', 'failed_logins', 'takeovers',
  'packet_bytes', 'packet_length', 'keepalive', 'messages_per_second', 'bytes_per_second', 'held',
  'topic_length', 'topic_levels', 'filter', 'subscriptions_per_client', 'subscriptions', 'sessions',
  'qos2_in_flight', 'queue', 'retained', 'subscriber_buffer', 'delivery_bytes', 'topic_alias', 'delayed_wills'
] as const

export type LimitName = typeof LIMIT_NAMES[number]

/** How often each limit was met, since the start. */
export class LimitHits {
  readonly #counts = new Map<LimitName, number>(LIMIT_NAMES.map((name) => [name, 0]))

  get counts (): ReadonlyMap<LimitName, number> {
    return this.#counts
  }

  hit (limit: LimitName): void {
    this.#counts.set(limit, this.#counts.get(limit) as number + 1)
  }
}
