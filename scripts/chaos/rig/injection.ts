/** Faults that the gateway under test injects into itself; one JSON argument. */
export interface Injection {
  /** Kills itself when it passes a point for the `pass`-th time. */
  readonly failpoint?: { readonly at: Failpoint, readonly pass: number }
  /** Deliberate defects that the checkers must see. */
  readonly breaks?: Break
  /** File in which it records how much of each spool segment is durable, for {@link cutTails}. */
  readonly durablePath?: string
  /** The store rejects as if PostgreSQL were away. */
  readonly isDatabaseAway?: boolean
  /** Longest delay of a write of the store, in milliseconds, so that batches overtake each other. */
  readonly answersLateMs?: number
  /** How far its own clock, not PostgreSQL's, is ahead; negative: behind. */
  readonly clockAheadMs?: number
  /** From the call number `from` on, fdatasync fails with EIO. The time of the first failure is written to `path`. */
  readonly syncFails?: { readonly from: number, readonly path: string }
}

export const FAILPOINTS = [
  'after-spool-write', 'after-spool-fsync', 'after-commit', 'replay-after-commit', 'replay-before-cursor', 'replay-before-unlink'
] as const
export type Failpoint = typeof FAILPOINTS[number]

/**
 * Each is found by another checker: C1 and C4, C1, C2, C3, C5, C6, C7, C1 with MQTT 5; three by sessions of a cluster; with Kafka
 * C1, C1, by a strike, C2, C1; with lakes, exports and Flink C9; with a replica C10.
 */
export const BREAKS = [
  'early-ack', 'no-fsync', 'store-twice', 'stale-latest', 'leak', 'bad-exit', 'miscount', 'refuse-unstored',
  'ack-before-redis', 'ack-when-lapsed', 'drop-wills', 'acks-one', 'offset-before-rows', 'no-epoch', 'no-identity', 'keep-nothing',
  'skip-plan', 'offset-before-points', 'count-twice', 'trust-replica', 'any-age'
] as const
export type Break = typeof BREAKS[number]
