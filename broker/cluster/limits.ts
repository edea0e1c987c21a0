/** Every bound and time of a cluster. */
export interface ClusterLimits {
  /** A gateway that has not renewed its lease for this long counts as dead: its sessions go to another. */
  readonly leaseMs: number
  /** A lease survives four renewals that fail. */
  readonly renewIntervalMs: number
  /** Longest that one command or pipeline takes; then the connection is cut, because Redis may be frozen. */
  readonly commandTimeoutMs: number
  /** Longest from the beginning of a connection to Redis until it may be used. */
  readonly connectTimeoutMs: number
  /** How long a read of the stream blocks. One that has not settled a while after that is cut. */
  readonly blockMs: number
  /** From the first change of a session to its write. A delivery that is acknowledged meanwhile is never written. */
  readonly saveDelayMs: number
  /** Bytes of one pipeline. */
  readonly pipelineBytesMax: number
  /** Messages to other gateways that Redis has not taken; beyond, further ones are dropped, counted and logged. */
  readonly outboxBytesMax: number
  /** Messages that go to one gateway in one entry of its stream. A larger message has an entry of its own. */
  readonly entryBytesMax: number
  /** Entries of one stream that are not read yet, so at most 128 MiB of them; beyond, Redis drops the oldest. */
  readonly streamEntriesMax: number
  /** Longest that a CONNECT waits for its session: longer than a lease, shorter than clients wait for CONNACK. */
  readonly claimTimeoutMs: number
  /** How long an announcement is remembered; a gateway that receives it later publishes it again. */
  readonly announcementMs: number
  /** Longest that SUBACK waits: a gateway that does not answer loses its lease before. */
  readonly interestTimeoutMs: number
}

export const CLUSTER_LIMITS: ClusterLimits = {
  leaseMs: 5000,
  renewIntervalMs: 1000,
  commandTimeoutMs: 2000,
  connectTimeoutMs: 3000,
  blockMs: 1000,
  saveDelayMs: 20,
  pipelineBytesMax: 1024 * 1024,
  outboxBytesMax: 16 * 1024 * 1024,
  entryBytesMax: 16 * 1024,
  streamEntriesMax: 8192,
  claimTimeoutMs: 10_000,
  announcementMs: 600_000,
  interestTimeoutMs: 6000
}

/** Waits for a promise, at most `ms` milliseconds. @throws what it rejects with within that time */
export async function within (promise: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeOut = new Promise<void>((resolve) => { timer = setTimeout(resolve, Math.max(0, ms)) })
  try {
    await Promise.race([promise, timeOut])
  } finally {
    clearTimeout(timer)
  }
}
