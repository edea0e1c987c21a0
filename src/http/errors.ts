import createError from '@fastify/error'
import type { Fault } from '../../schemas/fault.ts'
import type { Reason } from '../../schemas/reason.ts'

/**
 * Without a stack, which would say nothing and cost CPU in a flood of bad requests. A `cause` keeps its own.
 */
const define = <C extends `VITAL_${string}`, S extends number>(code: C, statusCode: S, message: string) =>
  createError<C, S>(code, message, statusCode, Error, false)

/**
 * Every error that the HTTP side answers with, by code and status; `scripts/docs/http-errors.ts` says when each is
 * answered. Codes are stable, messages are for people.
 */
export const HTTP_ERRORS = {
  BadRequest: define('VITAL_BAD_REQUEST', 400, 'The request is not valid HTTP, or its URL is malformed'),
  EmptyBody: define('VITAL_EMPTY_BODY', 400, 'The body is empty; send a reading or an array of readings'),
  InvalidJson: define('VITAL_INVALID_JSON', 400, 'The body is not valid JSON'),
  InvalidReading: define('VITAL_INVALID_READING', 400,
    'The body is not a valid reading or array of readings; nothing of it was stored'),
  DatabaseRejected: define('VITAL_DATABASE_REJECTED', 400,
    'PostgreSQL cannot hold a value in the body; nothing of it was stored as a reading'),
  InvalidQuery: define('VITAL_INVALID_QUERY', 400, 'The query is not valid'),
  InvalidDevice: define('VITAL_INVALID_DEVICE', 400, 'The path does not hold a valid device id'),
  Unauthenticated: define('VITAL_UNAUTHENTICATED', 401,
    'A valid credential is needed: Authorization: Bearer, or X-API-Key. Passwords count over MQTT alone'),
  Forbidden: define('VITAL_FORBIDDEN', 403, 'You may not do this'),
  OriginRefused: define('VITAL_ORIGIN_REFUSED', 403,
    'Pages of this origin may not connect; VITAL_WS_ORIGINS lists those that may'),
  DeviceNotFound: define('VITAL_DEVICE_NOT_FOUND', 404, 'No reading of this device was ever stored'),
  DeadLetterNotFound: define('VITAL_DEAD_LETTER_NOT_FOUND', 404, 'There is no dead letter with this id'),
  RouteNotFound: define('VITAL_ROUTE_NOT_FOUND', 404, 'There is nothing at this URL; /docs lists what there is'),
  MethodNotAllowed: define('VITAL_METHOD_NOT_ALLOWED', 405, 'This URL does not know the method; see the Allow header'),
  RequestTimeout: define('VITAL_REQUEST_TIMEOUT', 408, 'The request did not arrive in time'),
  BodyTooLarge: define('VITAL_BODY_TOO_LARGE', 413, 'The body is too large; send fewer readings at once'),
  UnsupportedContentEncoding: define('VITAL_UNSUPPORTED_CONTENT_ENCODING', 415,
    'The body must not be compressed; see the Accept-Encoding header'),
  UnsupportedMediaType: define('VITAL_UNSUPPORTED_MEDIA_TYPE', 415, 'The Content-Type must be application/json'),
  Overloaded: define('VITAL_OVERLOADED', 429, 'Too many readings wait to become durable; send again after Retry-After'),
  TooManyRequests: define('VITAL_TOO_MANY_REQUESTS', 429,
    'Too many requests, or too many with a bad credential; ask again after Retry-After'),
  HeadersTooLarge: define('VITAL_HEADERS_TOO_LARGE', 431, 'URL and headers are too large'),
  Internal: define('VITAL_INTERNAL', 500, 'Something went wrong here; the log tells what'),
  Unavailable: define('VITAL_UNAVAILABLE', 503, 'The readings could not be made durable; send again after Retry-After'),
  ErasureBusy: define('VITAL_ERASURE_BUSY', 503,
    'The device cannot be erased now; details say why, and whether it stays requested. Ask again later'),
  AuthenticationUnavailable: define('VITAL_AUTHENTICATION_UNAVAILABLE', 503,
    'The credential cannot be checked now; ask again after Retry-After'),
  ReadsBusy: define('VITAL_READS_BUSY', 503, 'Too many reads are under way; ask again after Retry-After'),
  DatabaseUnavailable: define('VITAL_DATABASE_UNAVAILABLE', 503,
    'PostgreSQL does not answer; ask again after Retry-After')
} as const

type Catalogue = typeof HTTP_ERRORS

/** One error of {@link HTTP_ERRORS}, with every fault that was found. */
export type HttpError = InstanceType<Catalogue[keyof Catalogue]> & {
  readonly statusCode: number
  readonly details?: readonly Fault[]
}

/**
 * The error that answers a body refused for this reason. Without a topic, the two topic reasons cannot arise over HTTP.
 */
export const ERROR_OF_REASON: Readonly<Record<Reason, Catalogue[keyof Catalogue]>> = {
  invalid_json: HTTP_ERRORS.InvalidJson,
  invalid_reading: HTTP_ERRORS.InvalidReading,
  device_mismatch: HTTP_ERRORS.InvalidReading,
  invalid_topic: HTTP_ERRORS.InvalidReading,
  database_rejected: HTTP_ERRORS.DatabaseRejected
}

/** The same error, with all faults for its answer's `details`. */
export function withDetails<E extends Error> (
  error: E, details: readonly Fault[]
): E & { readonly details: readonly Fault[] } {
  return Object.assign(error, { details })
}
