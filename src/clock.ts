/**
 * The gateway's time: the later of its own clock and PostgreSQL's, which each ping reads. A clock that was not set, or
 * was set back, is behind. A clock that is ahead does less harm: it only admits readings that are ahead. While
 * PostgreSQL is away, its clock is continued by the monotonic one. `received_at` and `receivedAt` hold this time.
 */
import type { Pool } from 'pg'
import type { Logger } from 'pino'
import { CLOCK_SET_MS_MIN } from '../db/effective-time.ts'

/** Above this difference an operator has to correct one of the clocks. */
const DIFFERENCE_MAX_S = 5

export interface ClockOptions {
  /** Unix milliseconds by the gateway's own clock. */
  readonly ownMs: () => number
  readonly monotonicMs: () => number
  readonly logger: Logger
}

export function createClock ({ ownMs, monotonicMs, logger }: ClockOptions) {
  /** PostgreSQL's Unix milliseconds minus the monotonic ones; `null` before its first answer. */
  let offsetMs: number | null = null
  let isTold = false

  /** @param atMs - now by the monotonic clock, where the caller has just read it */
  const nowMs = (atMs = monotonicMs()) => offsetMs === null ? ownMs() : Math.max(ownMs(), Math.floor(offsetMs + atMs))
  /** Positive where PostgreSQL is ahead; 0 before its first answer. */
  const differenceS = () => offsetMs === null ? 0 : (offsetMs + monotonicMs() - ownMs()) / 1000

  function toWarning (): string | null {
    const difference = differenceS()
    if (Math.abs(difference) <= DIFFERENCE_MAX_S) return null
    return `the gateway's clock is ${Math.round(Math.abs(difference))} s ${difference > 0 ? 'behind' : 'ahead of'} ` +
      'PostgreSQL\'s; the later of both counts. Set both by NTP'
  }

  /** @param postgresMs - PostgreSQL's answer @param sentAtMs - monotonic milliseconds of the request */
  function observe (postgresMs: number, sentAtMs: number): void {
    offsetMs = postgresMs - (sentAtMs + monotonicMs()) / 2
    const warning = toWarning()
    if (warning !== null && !isTold) logger.warn({ differenceS: differenceS() }, warning)
    isTold = warning !== null
  }

  return {
    observe,
    monotonicMs,
    nowMs,
    differenceS,
    /**
     * Whether PostgreSQL's clock has been read and at least one of the two clocks has been set. Until then no reading
     * is refused for being ahead.
     * @param atMs - a result of {@link nowMs}; reading both clocks again would cost each message 0.1 µs
     */
    isConfirmed: (atMs: number) => offsetMs !== null && atMs >= CLOCK_SET_MS_MIN,

    /** Asks PostgreSQL once. @throws the error of pg */
    async read (pool: Pool): Promise<void> {
      const sentAtMs = monotonicMs()
      const { rows: [row] } = await pool.query<{ now_ms: number }>('select (extract(epoch from clock_timestamp()) * ' +
        '1000)::float8 as now_ms')
      observe(row!.now_ms, sentAtMs)
    },

    warnings (): string[] {
      const warning = toWarning()
      return warning === null ? [] : [warning]
    }
  }
}

export type Clock = ReturnType<typeof createClock>
