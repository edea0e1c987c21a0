import type { Logger } from 'pino'
import { createOccasional } from '../log-throttle.ts'
import type { QoS } from '../session/delivery.ts'

/** Bytes of a topic: its length is told in 16 bits (MQTT 3.1.1 §1.5.3). */
const TOPIC_BYTES_MAX = 65_535
/** Of one UTF-16 unit in UTF-8. */
const UNIT_BYTES_MAX = 3

/** Whether a PUBLISH can be encoded. */
export function isWritable ({ topic, qos }: { readonly topic: string, readonly qos: QoS }): boolean {
  if (qos !== 0 && qos !== 1 && qos !== 2) return false
  return topic.length > 0 && (topic.length * UNIT_BYTES_MAX <= TOPIC_BYTES_MAX || Buffer.byteLength(topic) <= TOPIC_BYTES_MAX)
}

/**
 * The last look at a message before it goes to subscribers. One that cannot be encoded is dropped, instead of closing each
 * of them, again and again while it lies in a queue. What clients send is checked before (wire.ts); this is for what comes
 * from anywhere else.
 */
export function createWritableGuard ({ logger }: { logger: Logger }) {
  const state = { dropped: 0 }
  const occasionally = createOccasional({ intervalMs: 3_600_000 })

  return {
    /** @param deliveries - that it stands for. @returns whether they may be made */
    admits ({ topic, qos }: { readonly topic: string, readonly qos: QoS }, deliveries: number): boolean {
      if (isWritable({ topic, qos })) return true
      state.dropped += deliveries
      occasionally((leftOut) => {
        logger.error({ topic: topic.slice(0, 100), qos, leftOut }, 'delivery dropped: the message cannot be encoded')
      })
      return false
    },
    /** Deliveries. */
    get dropped (): number {
      return state.dropped
    }
  }
}

export type WritableGuard = ReturnType<typeof createWritableGuard>
