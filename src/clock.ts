/**
 * What time it is, by two clocks: the gateway's own and PostgreSQL's, which is read with each ping. Now is the later of
 * both, because a clock that was not set yet, or was set back, is behind; a clock that is ahead only lets through what
 * is ahead. While PostgreSQL is away its clock goes on by the monotonic one. Everything that is stamped here
 * (`received_at`, `receivedAt`) carries this now.
 */
import type { Pool } from 'pg'
import type { Logger } from 'pino'
import { CLOCK_SET_MS_MIN } from '../db/effective-time.ts'

/** Beyond, one of the clocks wants a person. */
const DIFFERENCE_MAX_S = 5

export interface ClockOptions {
  /** Unix milliseconds by the gateway's own clock. */
  readonly ownMs: () => number
  readonly monotonicMs: () => number
  readonly logger: Logger
}

export function createClock ({ ownMs, monotonicMs, logger }: ClockOptions) {
  /** PostgreSQL's Unix milliseconds less the monotonic ones; `null`: never heard of. */
  let offsetMs: number | null = null
  let isTold = false

  const nowMs = () => offsetMs === null ? ownMs() : Math.max(ownMs(), Math.floor(offsetMs + monotonicMs()))
  /** Positive where PostgreSQL is ahead; 0 while it was never heard of. */
  const differenceS = () => offsetMs === null ? 0 : (offsetMs + monotonicMs() - ownMs()) / 1000

  function toWarning (): string | null {
    const difference = differenceS()
    if (Math.abs(difference) <= DIFFERENCE_MAX_S) return null
    return `the gateway's clock is ${Math.round(Math.abs(difference))} s ${difference > 0 ? 'behind' : 'ahead of'} ` +
      'PostgreSQL\'s; the later of both counts. Set both by NTP'
  }

  /** @param postgresMs - as PostgreSQL told it @param sentAtMs - monotonic milliseconds at which it was asked */
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
     * Whether PostgreSQL's clock was read and the later of both was ever set. Until then nothing is refused for being
     * ahead.
     * @param atMs - of {@link nowMs}; reading two clocks again would cost each message 0.1 µs
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
