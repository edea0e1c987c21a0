import type { Aedes } from 'aedes'
import type { Logger } from 'pino'
import { toAnyPublish } from '../publish/published-packet.ts'
import type { MessageProperties, QoS } from '../session/delivery.ts'

/** Delivers a message to all sessions that subscribe to its topic, and retains it where asked to. */
export type FanOut = (message: PublishedMessage) => void

/** What is published to subscribers. */
export interface PublishedMessage {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  /** Of a publisher that speaks MQTT 5: its own no-local subscriptions leave the message out. */
  readonly clientId?: string
  readonly properties?: MessageProperties | null
}

/** @param getAedes - called at the first message: Aedes and its hooks need each other */
export function createFanOut (getAedes: () => Pick<Aedes, 'publish'>, logger: Logger): FanOut {
  return (message) => {
    getAedes().publish(toAnyPublish({ cmd: 'publish', dup: false, ...message }), (error) => {
      if (error) logger.debug({ topic: message.topic, reason: error.message }, 'message not published')
    })
  }
}
