import type { HttpApp } from '../app.ts'
import { prometheusContentType } from 'prom-client'
import Type from 'typebox'

/**
 * `GET /metrics` in Prometheus' text exposition format.
 *
 * Needs an operator's credential where credentials exist. While they cannot be checked (PostgreSQL is away, and the
 * credential is not known from before) it answers without: an outage is when its numbers count, and they name no
 * device, topic or client.
 */
export function getMetrics (app: HttpApp, metrics: () => Promise<string>): void {
  const schema = {
    summary: 'Metrics for Prometheus',
    tags: ['operation'],
    produces: ['text/plain'],
    response: { 200: Type.String({ description: 'Text exposition format' }) }
  }
  app.get('/metrics', { schema, config: { answersUnverified: true } }, async (_request, reply) => {
    const exposition = await metrics()
    return await reply.header('content-type', prometheusContentType).send(exposition)
  })
}
