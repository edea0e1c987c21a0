import type { Link } from './link.ts'
import { type Loop, untilNone } from './loop.ts'
import type { LoadSettings } from './messages.ts'
import { Sender } from './sender.ts'
import { Histogram } from '../../harness/statistics.ts'

/**
 * Sends on a schedule that does not wait for the server: packet k is due at start + k / rate, on connection
 * k mod connections. Latency counts from when a packet was due, not from when it left, so a server that stalls is
 * charged for every packet that had to wait meanwhile (no coordinated omission). A connection whose `inFlight` packets
 * are all unanswered sends late, and that lateness counts too. Answers come in order, so the n-th answer of a
 * connection belongs to its n-th packet, and no send times need be kept.
 */
export function startOpenLoop (settings: LoadSettings, links: readonly Link[]): Loop {
  const { ratePerS, warmupMs, measureMs } = settings
  const stepMs = 1000 / ratePerS
  const latencyUs = new Histogram()
  const lagUs = new Histogram()
  const startMs = performance.now()
  let answers = 0
  let sends = 0
  let due = 0
  let sending = true

  const dueMs = (index: number, nth: number) => startMs + (nth * links.length + index) * stepMs
  const isMeasured = (ms: number) => ms >= startMs + warmupMs && ms < startMs + warmupMs + measureMs

  const channels = links.map((link, index) => {
    const sender = new Sender(settings, link.socket, index)
    const channel = { sender, due: 0 }
    link.onAnswer = (messageId) => {
      const scheduledMs = dueMs(index, sender.answered)
      sender.answer(messageId)
      answers++
      if (isMeasured(scheduledMs)) latencyUs.record((performance.now() - scheduledMs) * 1000)
    }
    link.onRead = () => pump(channel)
    return channel
  })

  function pump (channel: { readonly sender: Sender, readonly due: number }): number {
    const count = Math.min(channel.sender.free, channel.due - channel.sender.sent)
    if (count > 0) {
      channel.sender.send(count, Math.floor((performance.timeOrigin + performance.now()) * 1000))
      sends += count
    }
    return count
  }

  const timer = setInterval(() => {
    if (!sending) return
    const nowMs = performance.now()
    while (startMs + due * stepMs <= nowMs) {
      const index = due % channels.length
      const channel = channels[index]
      if (channel === undefined) break
      const nth = channel.due++
      due++
      // Only publishes that could have left on time measure the generator; others waited for the server.
      const isOnTime = pump(channel) > 0 && channel.sender.sent === nth + 1
      const scheduledMs = dueMs(index, nth)
      if (isOnTime && isMeasured(scheduledMs)) lagUs.record((performance.now() - scheduledMs) * 1000)
    }
  }, 1)

  return {
    readingsAcked: () => answers,
    readingsSent: () => sends,
    drain: async () => {
      sending = false
      await untilNone(() => due - answers)
      clearInterval(timer)
    },
    latencies: () => ({
      latencyMs: {
        p50: latencyUs.percentile(0.5) / 1000,
        p99: latencyUs.percentile(0.99) / 1000,
        p999: latencyUs.percentile(0.999) / 1000
      },
      sendLagP99Ms: lagUs.percentile(0.99) / 1000
    })
  }
}
