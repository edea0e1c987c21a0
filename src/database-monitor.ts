import type { Pool } from 'pg'
import type { Logger } from 'pino'

/** How often an idle gateway asks whether the database is there; an outage is noticed within this, traffic or not. */
const PING_INTERVAL_MS = 1000

/**
 * The one state of the database: up or away. Batches report what they saw, and a ping covers the time without batches.
 * Logs each change once.
 */
export class DatabaseMonitor {
  readonly #pool: Pool
  readonly #logger: Logger
  readonly #isRetrying: () => boolean
  readonly #onChange: (isUp: boolean) => void
  #isUp = true
  #timer: NodeJS.Timeout | null = null
  #downSinceMs = 0

  /** @param of.isRetrying - whether a batch waits to be tried again: then a ping that succeeds proves nothing (a locked table answers it) */
  constructor (of: { pool: Pool, logger: Logger, isRetrying: () => boolean, onChange: (isUp: boolean) => void }) {
    const { pool, logger, isRetrying, onChange } = of
    this.#pool = pool
    this.#logger = logger
    this.#isRetrying = isRetrying
    this.#onChange = onChange
  }

  get isUp (): boolean {
    return this.#isUp
  }

  start (): void {
    this.#timer = setTimeout(() => { this.#ping() }, PING_INTERVAL_MS).unref()
  }

  stop (): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  /** A batch was committed, or could not be. */
  report (isUp: boolean, cause?: unknown): void {
    if (isUp === this.#isUp) return
    this.#isUp = isUp
    if (isUp) {
      this.#logger.info({ awayMs: Date.now() - this.#downSinceMs }, 'the database answers again')
    } else {
      this.#downSinceMs = Date.now()
      this.#logger.error({ err: cause }, 'the database does not answer; reading from devices stops until it does')
    }
    this.#onChange(isUp)
  }

  #ping (): void {
    // transaction_read_only tells a standby or a full stop of writes, which a plain SELECT would not notice.
    this.#pool.query('select current_setting(\'transaction_read_only\') as read_only').then(
      ({ rows: [row] }) => {
        if (row.read_only !== 'off') this.report(false, new Error('the database is read-only'))
        else if (!this.#isRetrying()) this.report(true)
      },
      (error: unknown) => this.report(false, error)
    ).finally(() => {
      if (this.#timer !== null) this.start()
    })
  }
}
