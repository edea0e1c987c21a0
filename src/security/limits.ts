/**
 * Every bound of authentication that is not configurable, with its reason. Memory that unauthenticated clients can
 * grow without a bound is a defect.
 */
export const SECURITY_LIMITS = {
  /** Principals kept in memory, about 550 bytes each: those that are authenticated while PostgreSQL is away. */
  principalsMax: 200_000,
  /**
   * Ids and secrets known to have no principal. Kept apart from the principals, so that guessing cannot evict existing
   * ones.
   */
  unknownMax: 20_000,
  /** How long they are kept as unknown. A change ends that at once; the age is for a missed change. */
  unknownAgeMaxMs: 30_000,
  /** Time for which a query gathers keys: 5,000 devices that come back at once cost a handful of queries. */
  lookupDelayMs: 2,
  /** Keys in one query. */
  lookupBatchMax: 1000,
  /** Keys that wait for a query; beyond, the answer is "unavailable" at once. Twice the default of MQTT connections. */
  lookupsWaitingMax: 40_000,
  /** How often changes are looked for: a revoked principal is closed within about this time. */
  changesIntervalMs: 1000,
  /**
   * Rows of the log of changes in one query, each of up to 500 ids: some 50 KiB, 2 MiB at worst, and a few milliseconds
   * of the event loop.
   */
  changesPageRows: 8,
  /** argon2id at once, each 19 MiB and a thread of libuv's four: the spool's fsync needs the others. */
  passwordsAtOnceMax: 2,
  /**
   * Passwords that wait for their turn, half of them of one address; at 20 ms each that is half a minute of waiting.
   */
  passwordsWaitingMax: 3000,
  /**
   * The idle process rests this many times as long as its last check took: half of the time instead of a tenth added 2
   * ms to the p99 of acknowledgements.
   */
  guessRests: 9,
  /** On a busy machine a check takes long because it runs seldom; it needs no rest on top of that. */
  guessRestMaxMs: 1000,
  /** Passwords of a guessing address that wait: at 30 ms each, a tenth of the time, 15 s. */
  guessesWaitingMax: 50,
  /**
   * Wrong passwords of an address, after which its next ones are checked aside until a minute has gone by without one.
   * A wrong password adds no delay of its own.
   */
  wrongPasswordsOfAddress: { freeMax: 20, delayMs: 0, delayMsMax: 0, forgetMs: 60_000, keysMax: 20_000 },
  /** Verified passwords remembered, about 150 bytes each. */
  passwordsRememberedMax: 100_000,
  /** Longer passwords are refused unchecked; the whole CONNECT has 16 KiB. */
  passwordBytesMax: 1024,
  /** A token is a few hundred bytes, with many claims 2 KiB. */
  tokenBytesMax: 8192,
  /** Verified tokens remembered, about 200 bytes each. */
  tokensRememberedMax: 50_000,
  /**
   * A verified token is accepted for this time without checking its signature; forgotten at once when its key is
   * removed.
   */
  tokenRememberedMs: 60_000,
  /** A JWKS of a URL is read again after this time. */
  jwksAgeMaxMs: 60_000,
  /** The same of a file, which costs nothing to read. */
  jwksFileAgeMaxMs: 10_000,
  /** For a key that is not in it, or while it fails, a JWKS is not read again sooner than this. */
  jwksCooldownMs: 30_000,
  /**
   * Keys of a failing source are trusted for this long. An outage or deployment of the issuer is shorter. An attacker
   * that blocks its URL gains no more.
   */
  jwksTrustedMs: 3_600_000,
  /** A key set is some KiB. */
  jwksBytesMax: 1024 * 1024,
  jwksTimeoutMs: 5000,
  /** Largest difference between the clock of the token's issuer and ours. */
  tokenClockToleranceS: 5
} as const
