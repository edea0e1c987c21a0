import type { FastifyReply } from 'fastify'
import { EVENTS_LIMITS } from '../events/limits.ts'

/**
 * Headers of every answer of `GET /events`. `no-transform` keeps proxies from compressing, and so from buffering;
 * `x-accel-buffering` keeps nginx from buffering.
 */
export const EVENT_STREAM_HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-store, no-transform',
  'x-accel-buffering': 'no'
} as const

/**
 * Answers 200 with a stream that ends at once, and says when to ask again. An error would end a browser's EventSource
 * for good (WHATWG HTML, "Server-sent events", 9.2.3, "fail the connection"). So would a connection
 * that is closed without an answer, where a proxy makes a 502 of it.
 * @param why - for a person, one line
 */
export function answerLater (reply: FastifyReply, why: string): void {
  const { laterMsMin, laterMsMax } = EVENTS_LIMITS
  const retryMs = Math.round(laterMsMin + Math.random() * (laterMsMax - laterMsMin))
  reply.code(200).headers(EVENT_STREAM_HEADERS).removeHeader('retry-after').send(`: ${why}\nretry: ${retryMs}\n\n`)
}
