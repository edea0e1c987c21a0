import type { FastifyRequest } from 'fastify'
import type { HttpApp } from '../app.ts'
import { classifyError } from '../../../db/sqlstate.ts'
import { DEVICE_ID_RULE, isDeviceId } from '../../../schemas/device-id.ts'
import { EXAMPLES } from '../../../schemas/examples.ts'
import { LatestQuerySchema } from '../../../schemas/vital-data.ts'
import type { Principal } from '../../../schemas/principal.ts'
import type { LatestReads } from '../../reads/reads.ts'
import { READERS } from '../authentication.ts'
import { HTTP_ERRORS, withDetails } from '../errors.ts'
import { type CountedAnswers, sendAnswer } from '../send-answer.ts'
import { answers, DEVICE_PARAMS, errorAnswers, NO_QUERY, POSITION } from '../schema-refs.ts'

/** `GET /vital-data`: the latest state of each device, a page at a time. */
export function listVitalData (app: HttpApp, reads: LatestReads, counted: CountedAnswers): void {
  const schema = {
    operationId: 'listDevices',
    summary: 'Latest state of all devices',
    tags: ['devices'],
    querystring: LatestQuerySchema,
    headers: POSITION,
    response: {
      200: answers('One page', 'ResourceList', EXAMPLES.resourceList),
      ...errorAnswers('InvalidQuery', 'ReadsBusy',
        'DatabaseUnavailable')
    }
  }
  app.get('/vital-data', { ...counted, schema, config: { access: READERS } }, async (request, reply) => {
    return sendAnswer(request, reply,
      await orUnavailable(reads.listLatest(request.query, () => request.raw.socket.destroyed, positionOf(request))))
  })
}

/** `GET /vital-data/{device}`: the latest state of one device. */
export function findVitalData (app: HttpApp, reads: LatestReads, counted: CountedAnswers): void {
  const schema = {
    operationId: 'getDevice',
    summary: 'Latest state of one device',
    tags: ['devices'],
    querystring: NO_QUERY,
    params: DEVICE_PARAMS,
    headers: POSITION,
    response: {
      200: answers('The device', 'Resource', EXAMPLES.resource),
      ...errorAnswers('InvalidDevice', 'InvalidQuery', 'DeviceNotFound', 'ReadsBusy', 'DatabaseUnavailable')
    }
  }
  app.get('/vital-data/:device', {
    ...counted, schema, config: { access: ['device', ...READERS] }
  }, async (request, reply) => {
    const device = toReadableDevice(request.params.device, request.principal)
    const answer = await orUnavailable(reads.findLatest(device, () => request.raw.socket.destroyed, positionOf(request)))
    if (answer === undefined) throw new HTTP_ERRORS.DeviceNotFound()
    return sendAnswer(request, reply, answer)
  })
}

/** The position that a client got with a 202 and sends back: the answer shows at least the readings stored by then. */
export function positionOf ({ headers }: Pick<FastifyRequest, 'headers'>): string | null {
  return headers['vital-position']?.toString() ?? null
}

/**
 * The device of a path, for a principal that may read it: a device reads itself alone.
 * @throws `VITAL_FORBIDDEN`, `VITAL_INVALID_DEVICE`
 */
export function toReadableDevice (device: string, principal: Principal | null | undefined): string {
  if (principal?.role === 'device' && principal.id !== device) throw new HTTP_ERRORS.Forbidden()
  if (isDeviceId(device)) return device
  throw withDetails(new HTTP_ERRORS.InvalidDevice(),
    [{ path: '/device', message: `must be a device id: ${DEVICE_ID_RULE}` }])
}

const INVALID_CURSOR = 'must be next of the page before, of the same sortBy, orderBy, prefix and silentFor'

/** Errors that may be temporary are answered 503, and the client retries; our own defects are 500. */
export async function orUnavailable<T> (read: Promise<T>): Promise<T> {
  try {
    return await read
  } catch (error) {
    const { code } = error as { code?: unknown }
    if (code === 'VITAL_READS_BUSY') throw new HTTP_ERRORS.ReadsBusy({ cause: error })
    if (code === 'VITAL_INVALID_CURSOR') {
      throw withDetails(new HTTP_ERRORS.InvalidQuery(), [{ path: '/cursor', message: INVALID_CURSOR }])
    }
    if (classifyError(error) !== 'retry') throw error
    throw new HTTP_ERRORS.DatabaseUnavailable({ cause: error })
  }
}
