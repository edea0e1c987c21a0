import type { Logger } from 'pino'

/** How soon the log says so, once it is true. */
const LOOK_INTERVAL_MS = 100

/**
 * Logs `ready`, once, when a device that comes in would be acknowledged: at the end of the start, or later where PostgreSQL is away
 * and nothing tells yet who may come in.
 * @returns ends the wait
 */
export function sayReady ({ isReady, logger }: { readonly isReady: () => boolean, readonly logger: Logger }): () => void {
  let timer: NodeJS.Timeout | undefined
  const look = () => {
    if (isReady()) logger.info('ready')
    else timer = setTimeout(look, LOOK_INTERVAL_MS).unref()
  }
  look()
  if (timer !== undefined) logger.warn('not ready: nobody is let in, or nothing can be made durable, until PostgreSQL answers; see /health/ready')
  return () => { clearTimeout(timer) }
}
