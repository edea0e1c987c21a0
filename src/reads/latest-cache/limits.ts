/** Every bound and time of the copy of the latest states in Redis. */
export const CACHE_LIMITS = {
  /** Longest that a batch waits for Redis before its COMMIT, and again behind it. */
  waitMs: 50,
  /** Of one command; then the connection is cut, because Redis may be frozen. */
  commandTimeoutMs: 2000,
  connectTimeoutMs: 3000,
  /** A gateway says so often that it lives and lacks nothing. */
  beatIntervalMs: 200,
  /** The intents of a gateway that has not said so for this time are dealt with by others. */
  silentMs: 600,
  /** A gateway that is connected to PostgreSQL and was silent for this time writes past the copy: nobody trusts it. */
  outMs: 3000,
  /** Intents that nobody has dealt with for this time: the copy is not trusted. */
  orphanMs: 1000,
  /** What is known of PostgreSQL and of Redis counts for so long. */
  watchIntervalMs: 1000,
  staleMs: 3000,
  /** Rows in one script, which holds up all clients of Redis for 20 to 50 µs a row. */
  rowsPerScript: 100,
  /** Rows of one query while `latest` is read again. */
  rowsPerRead: 1000,
  /** Devices in one repair. */
  repairMax: 500,
  repairIntervalMs: 50,
  /** After a repair the next one waits for so many times as long as that one took: batches find the rest. */
  repairRest: 3,
  /** While PostgreSQL or Redis refuses. */
  repairIntervalMaxMs: 2000,
  /** Devices that may differ in Redis; beyond, the whole copy is read again. */
  dirtyMax: 100_000,
  undecidedMax: 1000,
  /** Devices by which the copy and `latest` may differ in number: more than all batches under way can have added. */
  differenceMax: 10_000,
  /** Changes by hand are found within this time. */
  compareIntervalMs: 5 * 60_000,
  /** Reading `latest` again takes this share of the time at most; while the copy cannot be used, that one. */
  compareShare: 0.05,
  fillShare: 0.5,
  turnMs: 10_000,
  /** Rows that differed are waited for so long before the copy is called complete. */
  settleMs: 30_000,
  /** What is older than an erasure reaches Redis long before. */
  tombstoneMs: 10 * 60_000
} as const

/** See {@link CACHE_LIMITS}. */
export type CacheLimits = { readonly [Name in keyof typeof CACHE_LIMITS]: number }
