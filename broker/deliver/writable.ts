import type { AedesPublishPacket, Client } from 'aedes'
import type { Logger } from 'pino'
import { createOccasional } from '../occasional.ts'

type Forward = (client: Client, packet: AedesPublishPacket) => AedesPublishPacket | null

/** Bytes of a topic: its length is told in 16 bits (MQTT 3.1.1 §1.5.3). */
const TOPIC_BYTES_MAX = 65_535
/** Of one UTF-16 unit in UTF-8. */
const UNIT_BYTES_MAX = 3

/** Whether a PUBLISH can be encoded. */
export function isWritable ({ topic, qos }: Pick<AedesPublishPacket, 'topic' | 'qos'>): boolean {
  if (qos !== 0 && qos !== 1 && qos !== 2) return false
  return topic.length > 0 && (topic.length * UNIT_BYTES_MAX <= TOPIC_BYTES_MAX || Buffer.byteLength(topic) <= TOPIC_BYTES_MAX)
}

/**
 * The last look before a packet is written to a subscriber. Aedes closes the subscriber of what its writer cannot encode, and again
 * each time that it comes back to a queue that holds it, so such a message is dropped instead. What clients send is checked
 * before (wire.ts); this is for what comes from anywhere else.
 */
export function createWritableGuard ({ forward, logger }: { forward: Forward, logger: Logger }) {
  const state = { dropped: 0 }
  const occasionally = createOccasional({ intervalMs: 3_600_000 })

  return {
    authorizeForward (client: Client, packet: AedesPublishPacket): AedesPublishPacket | null {
      if (isWritable(packet)) return forward(client, packet)
      state.dropped++
      occasionally((leftOut) => {
        const { topic, qos } = packet
        logger.error({ topic: topic.slice(0, 100), qos, clientId: client.id, leftOut }, 'delivery dropped: the message cannot be encoded')
      })
      return null
    },
    /** Deliveries. */
    get dropped (): number {
      return state.dropped
    }
  }
}
