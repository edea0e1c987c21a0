import type { Logger } from 'pino'
import { createLogThrottle } from '../../log-throttle.ts'
import type { RedisLink } from './redis-link.ts'

const RETRY_MS = 1000

interface RefusedReadsOptions {
  readonly link: Pick<RedisLink, 'isUp'>
  /** Named in the log. */
  readonly what: string
  readonly logger: Logger
}

/**
 * Begins the reading of a stream again where Redis refuses it, for instance because the rights of its user were changed.
 * The connection stays up then. A lost connection begins the reading itself, once it is back.
 */
export class RefusedReads {
  readonly #options: RefusedReadsOptions
  readonly #throttle = createLogThrottle({ intervalMs: 60_000 })

  constructor (options: RefusedReadsOptions) {
    this.#options = options
  }

  /** @param again - called a second later */
  retry (error: unknown, again: () => void): void {
    const { link, what, logger } = this.#options
    if (!link.isUp) {
      logger.debug({ err: error }, `${what} is not read`)
      return
    }
    this.#throttle((leftOut) => { logger.warn({ err: error, leftOut }, `Redis refuses a read: ${what} is read later`) })
    setTimeout(again, RETRY_MS).unref()
  }
}
