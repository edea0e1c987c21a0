/** Sends answers of reads. Each counts until the socket took it, and is given up when the client does not read it. */
import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest, onSendHookHandler } from 'fastify'
import type { ReadAnswer } from '../reads/latest-answers.ts'
import type { HoldBytes } from '../reads/read-budget.ts'
import { JSON_TYPE } from './error-answer.ts'
import { HTTP_LIMITS } from './limits.ts'

/** Options of a route. */
export type CountedAnswers = ReturnType<typeof countAnswers>

/** Counts the bytes of a route's whole answers. Parts are counted as they are fetched. */
export function countAnswers (hold: HoldBytes): { readonly onSend: onSendHookHandler } {
  return {
    onSend (request, reply, payload, done) {
      // A response whose client has gone is closed already, and would never be released.
      if (typeof payload === 'string' && !request.raw.socket.destroyed) {
        const release = hold(payload.length)
        // A client that does not read would hold memory that other answers need.
        const timer = setTimeout(() => {
          // An answer that waits behind another one of its connection gets no event when the socket closes.
          release()
          request.raw.socket.destroy()
        }, HTTP_LIMITS.answerTimeoutMs)
        reply.raw.once('close', () => {
          clearTimeout(timer)
          release()
        })
      }
      done(null, payload)
    }
  }
}

export function sendAnswer (
  request: FastifyRequest, reply: FastifyReply, answer: ReadAnswer, contentType = JSON_TYPE
): FastifyReply {
  reply.header('content-type', contentType).header('cache-control', 'no-store')
  if (typeof answer === 'string') return reply.send(answer)
  const { parts, close } = answer
  reply.raw.once('close', close)
  if (reply.raw.destroyed || request.method === 'HEAD') {
    close()
    return reply.send('')
  }
  return reply.send(Readable.from(inTime(parts, () => {
    close()
    request.raw.socket.destroy()
  }), { objectMode: false }))
}

/** Each part must be taken in time. */
async function * inTime (parts: AsyncIterable<string>, giveUp: () => void): AsyncGenerator<string> {
  for await (const part of parts) {
    const timer = setTimeout(giveUp, HTTP_LIMITS.answerTimeoutMs)
    try {
      yield part
    } finally {
      clearTimeout(timer)
    }
  }
}
