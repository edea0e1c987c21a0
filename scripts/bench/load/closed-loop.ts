import type { Link } from './link.ts'
import { type Loop, untilNone } from './loop.ts'
import type { LoadSettings } from './messages.ts'
import { Sender } from './sender.ts'

/**
 * Keeps `inFlight` packets unanswered on each connection: each answer makes room for the next packet, and the packets
 * that one read made room for leave in one write.
 */
export function startClosedLoop (settings: LoadSettings, links: readonly Link[]): Loop {
  let answers = 0
  let sends = 0
  let unanswered = 0
  let sending = true
  for (const [index, link] of links.entries()) {
    const sender = new Sender(settings, link.socket, index)
    const refill = () => {
      const count = sender.free
      if (!sending || count === 0) return
      sender.send(count, Math.floor((performance.timeOrigin + performance.now()) * 1000))
      sends += count
      unanswered += count
    }
    link.onAnswer = (messageId) => {
      sender.answer(messageId)
      answers++
      unanswered--
    }
    link.onRead = refill
    refill()
  }
  return {
    readingsAcked: () => answers * settings.readingsPerAnswer,
    readingsSent: () => sends * settings.readingsPerAnswer,
    drain: async () => {
      sending = false
      await untilNone(() => unanswered)
    },
    latencies: () => ({ latencyMs: null, sendLagP99Ms: null })
  }
}
