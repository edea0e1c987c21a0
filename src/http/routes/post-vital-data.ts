import type { FastifyReply } from 'fastify'
import type { HttpApp } from '../app.ts'
import Type from 'typebox'
import type { Role } from '../../../schemas/principal.ts'
import { READINGS_PER_ARRAY_MAX } from '../../../schemas/reading.ts'
import { JSON_TYPE, toErrorAnswer } from '../error-answer.ts'
import { ERROR_OF_REASON, HTTP_ERRORS, withDetails } from '../errors.ts'
import type { RouteReads } from '../../reads/reads.ts'
import type { AcceptPost, PostOutcome } from '../../ingest/post-outcome.ts'
import { RETRY_AFTER_OVERLOADED_S, RETRY_AFTER_UNAVAILABLE_S } from '../limits.ts'
import { answers, errorAnswers, POSITION_ANSWER, ref } from '../schema-refs.ts'

/** A device for itself, an administrator for any. */
const SENDERS: readonly Role[] = ['device', 'admin']

/** These answers never vary and go out at full rate, so they are serialised once. */
const ACCEPTED = JSON.stringify({ status: 'accepted' })
const OVERLOADED = JSON.stringify(toErrorAnswer(new HTTP_ERRORS.Overloaded()))
const UNAVAILABLE = JSON.stringify(toErrorAnswer(new HTTP_ERRORS.Unavailable()))

const schema = {
  operationId: 'postReadings',
  summary: 'Store readings',
  description: 'Answers 202 once everything in the body is durable. One bad element refuses the whole body. ' +
    'Sending the same body again stores nothing twice, so a body that was not answered 202 or 400 may be sent again.',
  tags: ['readings'],
  consumes: ['application/json'],
  body: Type.Union([
    ref('Reading'),
    Type.Array(ref('Reading'), { minItems: 1, maxItems: READINGS_PER_ARRAY_MAX })
  ], {
    description: 'Here `device` is required: there is no topic to name it. Unknown fields of any JSON type are kept.',
    examples: [
      { device: 'band-17', timestamp: 1735689600.25, heartRateValue: 71, breathRateValue: 14 },
      [{
        device: 'band-17', timestamp: 1735689600.25, spo2Value: 97
      }, { device: 'scale-2', timestamp: 1735689600, weight: { kg: 71.5 } }]
    ]
  }),
  response: {
    202: { ...answers('Everything in the body is durable', 'Accepted', { status: 'accepted' }), headers: POSITION_ANSWER },
    ...errorAnswers('InvalidReading', 'InvalidJson', 'EmptyBody', 'DatabaseRejected', 'BodyTooLarge',
      'UnsupportedMediaType', 'UnsupportedContentEncoding', 'Overloaded', 'Unavailable')
  }
}

/**
 * `POST /vital-data`: the hot path. The body is not parsed here; see {@link AcceptPost}.
 * @param position - where there are replicas, a 202 of what PostgreSQL has waits for it and carries it
 */
export function postVitalData (app: HttpApp, ingest: AcceptPost, position: RouteReads['position']): void {
  app.post('/vital-data', { schema, config: { access: SENDERS } }, (request, reply) => {
    const { body, principal, headers: { 'content-encoding': encoding } } = request
    if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
      // RFC 9110 §12.5.3: names the coding that the next request may have.
      reply.header('accept-encoding', 'identity')
      throw new HTTP_ERRORS.UnsupportedContentEncoding()
    }
    // Without a Content-Type and without a body no parser ran, so none could refuse.
    if (!Buffer.isBuffer(body)) throw new HTTP_ERRORS.UnsupportedMediaType()
    if (body.length === 0) throw new HTTP_ERRORS.EmptyBody()
    ingest(body, (outcome) => {
      if (position === null || outcome.status !== 'durable' || outcome.isStored !== true) answer(reply, outcome)
      else {
        position().then((text) => { answer(text === null ? reply : reply.header('vital-position', text), outcome) })
          .catch((error: unknown) => { reply.send(error) })
      }
    }, principal?.role === 'device' ? principal.id : null)
  })
}

function answer (reply: FastifyReply, outcome: PostOutcome): void {
  switch (outcome.status) {
    case 'durable':
      reply.code(202).header('content-type', JSON_TYPE).send(ACCEPTED)
      return
    case 'invalid':
      reply.send(withDetails(new ERROR_OF_REASON[outcome.reason](), outcome.errors))
      return
    case 'forbidden':
      reply.send(new HTTP_ERRORS.Forbidden())
      return
    case 'overloaded':
      reply.code(429).header('content-type', JSON_TYPE).header('retry-after', RETRY_AFTER_OVERLOADED_S).send(OVERLOADED)
      return
    case 'unavailable':
      reply.code(503).header('content-type', JSON_TYPE).header('retry-after',
        RETRY_AFTER_UNAVAILABLE_S).send(UNAVAILABLE)
  }
}
