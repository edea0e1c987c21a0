import type { HttpApp } from '../app.ts'
import Type from 'typebox'
import { classifyError } from '../../../db/sqlstate.ts'
import { DEVICE_ID_RULE, isDeviceId } from '../../../schemas/device-id.ts'
import { LatestQuerySchema, type Resource, type ResourceList } from '../../../schemas/vital-data.ts'
import { READERS } from '../authentication.ts'
import { HTTP_ERRORS, withDetails } from '../errors.ts'
import type { Reads } from '../reads.ts'
import { answers, errorAnswers } from '../schema-refs.ts'

/** `GET /vital-data`: the latest state of each device, a page at a time. */
export function listVitalData (app: HttpApp, reads: Reads): void {
  const schema = {
    summary: 'Latest state of all devices',
    tags: ['devices'],
    querystring: LatestQuerySchema,
    response: { 200: answers('One page', 'ResourceList'), ...errorAnswers('InvalidQuery', 'DatabaseUnavailable') }
  }
  app.get('/vital-data', { schema, config: { access: READERS } }, async (request, reply): Promise<ResourceList> => {
    const list = await orUnavailable(reads.listLatest(request.query))
    reply.header('cache-control', 'no-store')
    return list
  })
}

/** `GET /vital-data/{device}`: the latest state of one device. */
export function findVitalData (app: HttpApp, reads: Reads): void {
  const schema = {
    summary: 'Latest state of one device',
    tags: ['devices'],
    params: Type.Object({ device: Type.String({ description: `Device id, percent-encoded: ${DEVICE_ID_RULE}` }) }),
    response: { 200: answers('The device', 'Resource'), ...errorAnswers('InvalidDevice', 'DeviceNotFound', 'DatabaseUnavailable') }
  }
  app.get('/vital-data/:device', { schema, config: { access: ['device', ...READERS] } }, async (request, reply): Promise<Resource> => {
    const { params: { device }, principal } = request
    if (principal?.role === 'device' && principal.id !== device) throw new HTTP_ERRORS.Forbidden()
    if (!isDeviceId(device)) {
      throw withDetails(new HTTP_ERRORS.InvalidDevice(), [{ path: '/device', message: `must be a device id: ${DEVICE_ID_RULE}` }])
    }
    const resource = await orUnavailable(reads.findLatest(device))
    if (resource === undefined) throw new HTTP_ERRORS.DeviceNotFound()
    reply.header('cache-control', 'no-store')
    return resource
  })
}

/** What may pass by itself is 503 and asked again; our own defects are 500. */
export async function orUnavailable<T> (read: Promise<T>): Promise<T> {
  try {
    return await read
  } catch (error) {
    if (classifyError(error) !== 'retry') throw error
    throw new HTTP_ERRORS.DatabaseUnavailable({ cause: error })
  }
}
