/** Counters since the start of this gateway, and gauges, which say "now". */
export interface ClusterStatistics {
  /** Whether Redis answers, now. */
  readonly isUp: boolean
  /** Live gateways, this one included, now. */
  readonly gateways: number
  /** Messages to and from other gateways. */
  readonly sent: number
  readonly received: number
  /** Messages to other gateways that Redis did not take. */
  readonly dropped: number
  /** Entries of other gateways that did not come. */
  readonly missed: number
  /** Bytes that wait for Redis, now. */
  readonly outboxBytes: number
  readonly sessionsFetched: number
  readonly sessionsGiven: number
  readonly sessionsAdopted: number
  /** Clients that are served without Redis knowing, now. */
  readonly unclaimed: number
  /** Commands that Redis did not answer in time. */
  readonly timeouts: number
}
