import type { Aedes } from 'aedes'
import type { Logger } from 'pino'

/** Delivers a message to all sessions that subscribe to its topic, and retains it where asked to. */
export type FanOut = (message: { topic: string, payload: Buffer, qos: 0 | 1 | 2, retain: boolean }) => void

/** @param getAedes - called at the first message: Aedes and its hooks need each other */
export function createFanOut (getAedes: () => Pick<Aedes, 'publish'>, logger: Logger): FanOut {
  return (message) => {
    getAedes().publish({ cmd: 'publish', dup: false, ...message }, (error) => {
      if (error) logger.debug({ topic: message.topic, reason: error.message }, 'message not published')
    })
  }
}
