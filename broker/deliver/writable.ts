import type { Logger } from 'pino'
import { createLogThrottle } from '../log-throttle.ts'
import type { QoS } from '../session/delivery.ts'
import { TEXT_BYTES_MAX } from '../wire/fields.ts'

/** Of one UTF-16 unit in UTF-8. */
const UNIT_BYTES_MAX = 3

/** Whether a PUBLISH can be encoded. */
export function isWritable ({ topic, qos }: { readonly topic: string, readonly qos: QoS }): boolean {
  if (qos !== 0 && qos !== 1 && qos !== 2) return false
  return topic.length > 0 && (topic.length * UNIT_BYTES_MAX <= TEXT_BYTES_MAX || Buffer.byteLength(topic) <= TEXT_BYTES_MAX)
}

/**
 * Checks a message before it goes to subscribers. One that cannot be encoded is dropped: each attempt to write it would
 * close a subscriber, again and again while it is queued. Packets of clients are checked before (wire/rules.ts); this
 * is for messages from anywhere else.
 */
export function createWritableGuard ({ logger }: { logger: Logger }) {
  const state = { dropped: 0 }
  const throttle = createLogThrottle({ intervalMs: 3_600_000 })

  return {
    /** @param deliveries - of the message. @returns whether they may be made */
    admits ({ topic, qos }: { readonly topic: string, readonly qos: QoS }, deliveries: number): boolean {
      if (isWritable({ topic, qos })) return true
      state.dropped += deliveries
      throttle((leftOut) => {
        logger.error({ topic: topic.slice(0, 100), qos, leftOut }, 'delivery dropped: the message cannot be encoded')
      })
      return false
    },
    /** Deliveries that were dropped. */
    get dropped (): number {
      return state.dropped
    }
  }
}

export type WritableGuard = ReturnType<typeof createWritableGuard>
