import type { Logger } from 'pino'

/** Interval of the readiness checks. */
const LOOK_INTERVAL_MS = 100

interface AnnounceReadyOptions {
  readonly isReady: () => boolean
  /** Logged if it is not ready at first. */
  readonly notYet: string
  readonly logger: Logger
}

/**
 * Logs `ready` once: at the end of the start, or later if PostgreSQL is away and it is not known yet which clients may
 * connect.
 * @returns a function that ends the wait
 */
export function announceReady ({ isReady, notYet, logger }: AnnounceReadyOptions): () => void {
  let timer: NodeJS.Timeout | undefined
  const look = () => {
    if (isReady()) logger.info('ready')
    else timer = setTimeout(look, LOOK_INTERVAL_MS).unref()
  }
  look()
  if (timer !== undefined) logger.warn(notYet)
  return () => { clearTimeout(timer) }
}
