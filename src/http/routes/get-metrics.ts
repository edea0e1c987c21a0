import type { HttpApp } from '../app.ts'
import { prometheusContentType } from 'prom-client'
import Type from 'typebox'
import { errorAnswers } from '../schema-refs.ts'

/**
 * `GET /metrics` in Prometheus' text exposition format.
 *
 * Needs an operator's credential where credentials exist. While they cannot be checked (PostgreSQL is away, and the
 * credential is not known from before) it answers without one: its numbers matter most during an outage, and they name
 * no device, topic or client.
 */
export function getMetrics (app: HttpApp, metrics: () => Promise<string>): void {
  const schema = {
    operationId: 'getMetrics',
    summary: 'Metrics for Prometheus',
    tags: ['operation'],
    response: {
      200: {
        description: 'Text exposition format',
        content: { 'text/plain': { schema: Type.String(), example: 'vital_readings_pending 0\n' } }
      },
      ...errorAnswers()
    }
  }
  app.get('/metrics', { schema, config: { answersUnverified: true } }, async (_request, reply) => {
    const exposition = await metrics()
    return await reply.header('content-type', prometheusContentType).send(exposition)
  })
}
