import Type from 'typebox'
import {
  type DeadLetter, type DeadLetterList, DeadLetterQuerySchema, toDeadLetter
} from '../../../schemas/dead-letter.ts'
import { EXAMPLES } from '../../../schemas/examples.ts'
import type { DeadLetterReads } from '../../reads/reads.ts'
import type { HttpApp } from '../app.ts'
import { HTTP_ERRORS } from '../errors.ts'
import { answers, errorAnswers } from '../schema-refs.ts'
import type { CountedAnswers } from '../send-answer.ts'
import { orUnavailable } from './get-vital-data.ts'

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/**
 * `GET /dead-letters` and `GET /dead-letters/{id}`: refused inputs with their reasons. Read-only: `vital-gateway
 * dead-letters` resends and discards.
 */
export function getDeadLetters (app: HttpApp, reads: DeadLetterReads, counted: CountedAnswers): void {
  const list = {
    operationId: 'listDeadLetters',
    summary: 'Refused inputs, newest first',
    description: 'Without payloads; ask for one letter to see its own.',
    tags: ['operation'],
    querystring: DeadLetterQuerySchema,
    response: {
      200: answers('One page', 'DeadLetterList', EXAMPLES.deadLetterList),
      ...errorAnswers('InvalidQuery', 'ReadsBusy',
        'DatabaseUnavailable')
    }
  }
  app.get('/dead-letters', { ...counted, schema: list }, async (request, reply): Promise<DeadLetterList> => {
    const page = await orUnavailable(reads.list(request.query))
    reply.header('cache-control', 'no-store')
    return page
  })

  const find = {
    operationId: 'getDeadLetter',
    summary: 'One refused input, whole',
    tags: ['operation'],
    params: Type.Object({ id: Type.String({ format: 'uuid', description: 'Of the list', examples: [EXAMPLES.deadLetter.id] }) }),
    response: {
      200: answers('The letter', 'DeadLetter', EXAMPLES.deadLetter),
      ...errorAnswers('DeadLetterNotFound', 'ReadsBusy',
        'DatabaseUnavailable')
    }
  }
  app.get('/dead-letters/:id', { ...counted, schema: find }, async (request, reply): Promise<DeadLetter> => {
    const { id } = request.params
    const letter = UUID.test(id) ? await orUnavailable(reads.find(id)) : undefined
    if (letter === undefined) throw new HTTP_ERRORS.DeadLetterNotFound()
    reply.header('cache-control', 'no-store')
    return toDeadLetter(letter)
  })
}
