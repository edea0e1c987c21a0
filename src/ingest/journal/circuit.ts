/**
 * The circuit between the journal's target (PostgreSQL, or Kafka) and the spool.
 *
 *            a batch fails                 a ping succeeds
 *   closed ────────────────> open ───────────────────────────> half-open
 *     ▲                        ▲                                 │   │
 *     │                        └──── a batch or a ping fails ────┘   │
 *     └──── a spooled batch is stored, or none waits and a ping succeeds
 *
 * closed: batches go to the target. open: they go to the spool, so that no device waits for a time-out. half-open: they
 * still go to the spool, while the oldest spooled batch tries the target. A ping alone proves little: it succeeds even
 * if the table is locked.
 */
import type { Logger } from 'pino'
import type { Target } from './target.ts'

/** Interval of the pings; an outage without traffic is noticed within it. */
const PING_INTERVAL_MS = 1000

export const CIRCUIT_STATES = ['closed', 'open', 'half-open'] as const
export type CircuitState = typeof CIRCUIT_STATES[number]

export interface CircuitOptions {
  readonly target: Pick<Target, 'name' | 'ping'>
  readonly logger: Logger
  /** Whether spooled batches wait, so that one of them can be the trial. */
  readonly hasBacklog: () => boolean
  readonly onChange: (state: CircuitState) => void
}

export class Circuit {
  readonly #options: CircuitOptions
  /** Open until the target is ready for the first time. */
  #state: CircuitState = 'open'
  #timer: NodeJS.Timeout | null = null
  #openedAtMs: number | null = null

  constructor (options: CircuitOptions) {
    this.#options = options
  }

  get state (): CircuitState {
    return this.#state
  }

  /** Milliseconds since the circuit opened; `null` while it is closed, and before the target has ever been ready. */
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

  /** Reports that the target did not take a batch, or did not answer. */
  fail (cause: unknown): void {
    if (this.#state === 'open') return
    if (this.#state === 'closed') {
      this.#openedAtMs = performance.now()
      this.#options.logger.error({ err: cause },
        `${this.#options.target.name} does not take readings: circuit open, they go to the spool`)
    }
    this.#change('open')
  }

  /** Reports that the target took a batch. */
  succeed (): void {
    if (this.#state !== 'half-open') return
    if (this.#openedAtMs !== null) {
      const openMs = Math.round(performance.now() - this.#openedAtMs)
      this.#options.logger.info({ openMs }, `${this.#options.target.name} takes readings again: circuit closed`)
    }
    this.#change('closed')
  }

  /**
   * Reports that the target answers. The trial is a batch that waits in the spool; if none waits, the circuit closes at
   * once.
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
      await this.#options.target.ping()
    } catch (error) {
      this.fail(error)
      return
    }
    this.prove()
  }
}
