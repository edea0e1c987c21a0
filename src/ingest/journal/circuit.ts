/**
 * The circuit between PostgreSQL and the spool.
 *
 *            a batch fails                 a ping succeeds
 *   closed ────────────────> open ───────────────────────────> half-open
 *     ▲                        ▲                                 │   │
 *     │                        └──── a batch or a ping fails ────┘   │
 *     └──── a spooled batch is stored, or none waits and a ping succeeds
 *
 * closed: batches go to PostgreSQL. open: to the spool, so that no device waits for a time-out. half-open: still to the
 * spool, while the oldest spooled batch tries PostgreSQL; a ping alone proves little, for a locked table answers it.
 */
import type { Pool, PoolClient, QueryConfig } from 'pg'
import type { Logger } from 'pino'

/** Interval of the pings; an outage without traffic is noticed within it. */
const PING_INTERVAL_MS = 1000
/** A server that hangs must not delay a ping, and the closing of the circuit, for longer. */
const PING_TIMEOUT_MS = 1000

export const CIRCUIT_STATES = ['closed', 'open', 'half-open'] as const
export type CircuitState = typeof CIRCUIT_STATES[number]

export interface CircuitOptions {
  readonly pool: Pool
  readonly logger: Logger
  /** Whether spooled batches wait, so that one of them can be the trial. */
  readonly hasBacklog: () => boolean
  readonly onChange: (state: CircuitState) => void
  /** Receives PostgreSQL's time in Unix milliseconds, and the time of the request in monotonic ones. */
  readonly onClock?: (postgresMs: number, sentAtMs: number) => void
}

export class Circuit {
  readonly #options: CircuitOptions
  /** Open until the database was made ready. */
  #state: CircuitState = 'open'
  #timer: NodeJS.Timeout | null = null
  #openedAtMs: number | null = null

  constructor (options: CircuitOptions) {
    this.#options = options
  }

  get state (): CircuitState {
    return this.#state
  }

  /** How long it has not been closed, in milliseconds; `null` while it is, and before PostgreSQL answered at all. */
  get openForMs (): number | null {
    return this.#state === 'closed' || this.#openedAtMs === null ? null : Math.round(performance.now() - this.#openedAtMs)
  }

  /** Starts to ping. */
  start (): void {
    this.#timer = setTimeout(() => { this.#tick() }, PING_INTERVAL_MS).unref()
  }

  stop (): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  /** PostgreSQL did not take a batch, or did not answer. */
  fail (cause: unknown): void {
    if (this.#state === 'open') return
    if (this.#state === 'closed') {
      this.#openedAtMs = performance.now()
      this.#options.logger.error({ err: cause },
        'PostgreSQL does not take readings: circuit open, they go to the spool')
    }
    this.#change('open')
  }

  /** PostgreSQL committed a batch. */
  succeed (): void {
    if (this.#state !== 'half-open') return
    if (this.#openedAtMs !== null) {
      const openMs = Math.round(performance.now() - this.#openedAtMs)
      this.#options.logger.info({ openMs }, 'PostgreSQL takes readings again: circuit closed')
    }
    this.#change('closed')
  }

  /**
   * PostgreSQL was made ready for traffic. The trial is a batch that waits in the spool; without one, the circuit
   * closes.
   */
  prove (): void {
    if (this.#state === 'open') this.#change('half-open')
    if (!this.#options.hasBacklog()) this.succeed()
  }

  #change (state: CircuitState): void {
    this.#state = state
    this.#options.onChange(state)
  }

  #tick (): void {
    const next = () => {
      if (this.#timer !== null) this.start()
    }
    this.#ping().then(next, (error: unknown) => {
      this.#options.logger.error({ err: error }, 'a check of the circuit failed; trying again')
      next()
    })
  }

  async #ping (): Promise<void> {
    try {
      const client = await this.#options.pool.connect()
      let failure: Error | undefined
      try {
        // A read-only server (a standby, a full stop of writes) answers every SELECT.
        const { readOnly } = await readPing(client, this.#options.onClock)
        if (readOnly !== 'off') throw new Error('PostgreSQL is read-only')
      } catch (error) {
        failure = error as Error
        throw error
      } finally {
        // A session keeps the default_transaction_read_only that it began with, and the pings keep it from being closed
        // as idle. So each ping ends one such session, until a new one may write.
        client.release(failure)
      }
    } catch (error) {
      this.fail(error)
      return
    }
    this.prove()
  }
}

async function readPing (
  client: PoolClient, onClock: CircuitOptions['onClock']
): Promise<{ readonly readOnly: string | undefined }> {
  const sentAtMs = performance.now()
  const { rows: [row] } = await client.query<{ read_only: string, now_ms: number | null }>({
    text: 'select current_setting(\'transaction_read_only\') as read_only, (extract(epoch from clock_timestamp()) * ' +
      '1000)::float8 as now_ms',
    query_timeout: PING_TIMEOUT_MS
  } as QueryConfig)
  if (typeof row?.now_ms === 'number') onClock?.(row.now_ms, sentAtMs)
  return { readOnly: row?.read_only }
}
