import Type from 'typebox'
import { EXAMPLES } from '../../../schemas/examples.ts'
import { HistoryQuerySchema, parseHistoryQuery, type RawHistoryQuery } from '../../../schemas/history.ts'
import type { HistoryReads } from '../../reads/history/history.ts'
import type { HttpApp } from '../app.ts'
import { READERS } from '../authentication.ts'
import { HTTP_ERRORS, withDetails } from '../errors.ts'
import { DEVICE_PARAMS, errorAnswers, POSITION, ref } from '../schema-refs.ts'
import { type CountedAnswers, sendAnswer } from '../send-answer.ts'
import { toRefusedQuery } from '../validator.ts'
import { orUnavailable, positionOf, toReadableDevice } from './get-vital-data.ts'

/** `GET /vital-data/{device}/history`: readings of one device, or summaries of buckets, a page at a time or streamed. */
export function getHistory (app: HttpApp, reads: HistoryReads, counted: CountedAnswers): void {
  const schema = {
    operationId: 'getHistory',
    summary: 'Readings of one device, or averages',
    description: 'Pages by `count` and `cursor` as JSON. As NDJSON or CSV (`Accept` or `format`) the whole range is ' +
      'streamed. A stream that breaks ends without its last chunk, so a client can tell. With `every`, a resource is a ' +
      'bucket.',
    tags: ['devices'],
    querystring: HistoryQuerySchema,
    params: DEVICE_PARAMS,
    headers: POSITION,
    response: {
      200: {
        description: 'A page, or the whole range as a stream',
        content: {
          'application/json': {
            schema: Type.Union([ref('History'), ref('BucketHistory')]),
            examples: { readings: { value: EXAMPLES.history }, buckets: { value: EXAMPLES.bucketHistory } }
          },
          'application/x-ndjson': {
            schema: Type.String({ description: 'A resource a line' }), example: EXAMPLES.historyLines
          },
          'text/csv': {
            schema: Type.String({ description: 'A header, then a line a reading, or a bucket and vital sign' }),
            example: EXAMPLES.bucketLines
          }
        }
      },
      ...errorAnswers('InvalidDevice', 'InvalidQuery', 'DeviceNotFound', 'ReadsBusy', 'DatabaseUnavailable')
    }
  }
  app.get('/vital-data/:device/history', {
    ...counted, schema, config: { access: ['device', ...READERS] }, attachValidation: true
  }, async (request, reply) => {
    const device = toReadableDevice(request.params.device, request.principal)
    const refused = toRefusedQuery(request)
    const query = refused === null ? request.query : refused.rest as RawHistoryQuery
    const parsed = parseHistoryQuery(query, request.headers.accept, refused?.faults)
    if ('faults' in parsed) throw withDetails(new HTTP_ERRORS.InvalidQuery(), parsed.faults)
    const found = await orUnavailable(reads.findHistory(device, parsed.request, () => request.raw.socket.destroyed,
      positionOf(request)))
    if (found === undefined) throw new HTTP_ERRORS.DeviceNotFound()
    // addCors may have set `Vary: Origin`.
    reply.header('vary', [reply.getHeader('vary') ?? [], 'Accept'].flat().join(', '))
    return sendAnswer(request, reply, found.answer, found.contentType)
  })
}
