import { isIP } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { StorageError } from '../../../db/storage-error.ts'
import { DEVICE_ID_RULE, isStoredDeviceId } from '../../../schemas/device-id.ts'
import type { ErasureAnswer } from '../../../schemas/erasure.ts'
import { EXAMPLES } from '../../../schemas/examples.ts'
import type { HttpApp } from '../app.ts'
import { HTTP_ERRORS, withDetails } from '../errors.ts'
import { answers, DEVICE_PARAMS, errorAnswers, NO_QUERY } from '../schema-refs.ts'
import { orUnavailable } from './get-vital-data.ts'

/** Removes a device. @param actor - for the audit log @throws `VITAL_ERASURE_BUSY`, or the error of pg */
export type Erase = (device: string, actor: string) => Promise<Omit<ErasureAnswer, 'deviceId'>>

/** `DELETE /vital-data/{device}`: removes everything that the gateway holds of a device. For administrators. */
export function deleteVitalData (app: HttpApp, erase: Erase): void {
  const schema = {
    operationId: 'eraseDevice',
    summary: 'Erase a device',
    description: 'Its readings, also those that wait in the spool, latest state, dead letters, and retained and ' +
      'queued messages. May take minutes.',
    tags: ['operation'],
    querystring: NO_QUERY,
    params: DEVICE_PARAMS,
    response: {
      200: answers('What was removed', 'Erasure', EXAMPLES.erasure),
      ...errorAnswers('InvalidDevice', 'InvalidQuery', 'Forbidden', 'ErasureBusy', 'DatabaseUnavailable')
    }
  }
  app.delete('/vital-data/:device', { schema }, async (request): Promise<ErasureAnswer> => {
    const { device } = request.params
    if (!isStoredDeviceId(device)) {
      throw withDetails(new HTTP_ERRORS.InvalidDevice(),
        [{ path: '/device', message: `must be a device id: ${DEVICE_ID_RULE}` }])
    }
    const actor = toActor(request)
    // A device of many years takes longer than a socket may be silent.
    request.raw.socket.setTimeout(0)
    try {
      return { deviceId: device, ...await orUnavailable(erase(device, actor)) }
    } catch (error) {
      if (error instanceof StorageError && error.code === 'VITAL_ERASURE_BUSY') {
        throw withDetails(new HTTP_ERRORS.ErasureBusy({ cause: error }), [{ path: '', message: error.message }])
      }
      throw error
    }
  })
}

/**
 * The actor for the audit log. While the gateway is open, only this machine may erase: open mode allows publishing and
 * reading, not deletion. The Host header is checked because a page in a browser of this machine may point its own name
 * at our address (DNS rebinding).
 */
function toActor (request: FastifyRequest): string {
  if (request.principal) return request.principal.id
  const address = request.ip
  const { hostname } = request
  const isLocalName = hostname === 'localhost' || hostname === '[::1]' ||
    (isIP(hostname) === 4 && hostname.startsWith('127.'))
  if (!isLocalName || !/^(?:::1|(?:::ffff:)?127\.[\d.]+)$/.test(address)) throw new HTTP_ERRORS.Forbidden()
  return `anonymous@${address}`
}
