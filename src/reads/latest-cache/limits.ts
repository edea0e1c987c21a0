/** Every bound and time of the copy of the latest states in Redis. */
export const CACHE_LIMITS = {
  /** Longest that a batch waits for Redis before its COMMIT, and again behind it. */
  waitMs: 50,
  /** Of one command; then the connection is cut, because Redis may be frozen. */
  commandTimeoutMs: 2000,
  connectTimeoutMs: 3000,
  /** Interval at which a gateway reports that it lives and lacks nothing. */
  beatIntervalMs: 200,
  /** Others deal with the intents of a gateway that has not reported for this time. */
  silentMs: 600,
  /** A gateway that is connected to PostgreSQL and silent for this time writes past the copy: no gateway trusts it. */
  outMs: 3000,
  /** While intents of a silent gateway stay open for this time, the copy is not trusted. */
  orphanMs: 1000,
  /** Interval at which PostgreSQL is asked for the connected gateways. */
  watchIntervalMs: 1000,
  /** Answers of PostgreSQL and of Redis count for this time. */
  staleMs: 3000,
  /** Rows in one script, which holds up all clients of Redis for 20 to 50 µs a row. */
  rowsPerScript: 25,
  /** Rows of one query while `latest` is read again. */
  rowsPerRead: 1000,
  /** Devices in one repair. */
  repairMax: 500,
  repairIntervalMs: 50,
  /** After a repair the next one waits this many times as long as that one took, so that batches get the rest. */
  repairRest: 3,
  /** Longest interval while PostgreSQL or Redis refuses. */
  repairIntervalMaxMs: 2000,
  /** Devices that may differ in Redis; beyond, the whole copy is read again. */
  dirtyMax: 100_000,
  undecidedMax: 1000,
  /** Devices by which the copy and `latest` may differ in number: more than all batches under way can have added. */
  differenceMax: 10_000,
  /** Changes by hand are found within this time. */
  compareIntervalMs: 5 * 60_000,
  /** Largest share of the time for reading `latest` again. */
  compareShare: 0.05,
  /** The same while the copy cannot be used. */
  fillShare: 0.5,
  turnMs: 10_000,
  /** Longest wait for rows that differed before the copy counts as complete. */
  settleMs: 30_000,
  /** How long an erasure is remembered: rows from before it reach Redis much sooner. */
  tombstoneMs: 10 * 60_000
} as const

/** See {@link CACHE_LIMITS}. */
export type CacheLimits = { readonly [Name in keyof typeof CACHE_LIMITS]: number }
