import type { HttpApp } from '../app.ts'
import { EXAMPLES } from '../../../schemas/examples.ts'
import type { LiveAnswer, ReadyAnswer } from '../../../schemas/vital-data.ts'
import { isOperator } from '../authentication.ts'
import { answers, publicErrorAnswers } from '../schema-refs.ts'

/** The state of the gateway, read anew for each probe. */
export interface Health extends Omit<Required<ReadyAnswer>, 'status' | 'kafka' | 'spool' | 'warnings'> {
  /** Absent where the process takes no readings. */
  readonly spool?: Required<ReadyAnswer>['spool']
  /** Only where readings are written to Kafka. */
  readonly kafka?: Required<ReadyAnswer>['kafka']
  /** The loop turns and the flusher makes progress. */
  readonly live: boolean
  /** Durability can be promised, by PostgreSQL or by the spool. */
  readonly ready: boolean
  /** Conditions that weaken the promise, as sentences for a person. */
  readonly warnings: readonly string[]
}

/** `GET /health/live` and `GET /health/ready`, for orchestrators and load balancers: 200 or 503. */
export function getHealth (app: HttpApp, health: () => Health): void {
  const live = {
    operationId: 'getLive',
    security: [],
    summary: 'Whether the process makes progress; restart it when not',
    tags: ['operation'],
    response: {
      ...publicErrorAnswers(),
      200: answers('It does', 'Live', { status: 'live' }),
      503: answers('It does not', 'Live', { status: 'stuck' })
    }
  }
  app.get('/health/live', { schema: live, config: { access: 'public' } }, (_request, reply) => {
    const { live } = health()
    const answer: LiveAnswer = { status: live ? 'live' : 'stuck' }
    return reply.code(live ? 200 : 503).header('cache-control', 'no-store').send(answer)
  })

  const ready = {
    operationId: 'getReady',
    security: [],
    summary: 'Whether an acknowledgement can be given now',
    description: 'Stays 200 while PostgreSQL is away and the spool takes its place. Without credentials, where they ' +
      'are needed, only `status` is told.',
    tags: ['operation'],
    response: {
      ...publicErrorAnswers(),
      200: answers('It can', 'Ready', EXAMPLES.ready),
      503: answers('It cannot', 'Ready', { status: 'unavailable' })
    }
  }
  app.get('/health/ready', { schema: ready, config: { access: 'public' } }, (request, reply) => {
    const { ready, database, kafka, spool, warnings } = health()
    const status = ready ? 'ready' : 'unavailable'
    // An orchestrator's probe has no credentials and needs only the status. The rest would show a stranger weak points.
    const answer: ReadyAnswer = isOperator(request)
      ? { status, database, ...(kafka && { kafka }), ...(spool && { spool }), warnings: [...warnings] }
      : { status }
    return reply.code(ready ? 200 : 503).header('cache-control', 'no-store').send(answer)
  })
}
