import type { HttpApp } from '../app.ts'
import { prometheusContentType } from 'prom-client'
import Type from 'typebox'

/** `GET /metrics` in Prometheus' text exposition format. */
export function getMetrics (app: HttpApp, metrics: () => Promise<string>): void {
  const schema = {
    summary: 'Metrics for Prometheus',
    tags: ['operation'],
    produces: ['text/plain'],
    response: { 200: Type.String({ description: 'Text exposition format' }) }
  }
  app.get('/metrics', { schema }, async (_request, reply) => {
    const exposition = await metrics()
    return await reply.header('content-type', prometheusContentType).send(exposition)
  })
}
