import { HTTP_ERRORS } from '../../src/http/errors.ts'
import { type Section, toMarkdownTable } from './markdown.ts'

/** When each error is answered. Its message, which a client sees, is in `src/http/errors.ts`. */
const WHEN: Readonly<Record<keyof typeof HTTP_ERRORS, string>> = {
  BadRequest: 'the request is not valid HTTP, or its URL is malformed',
  EmptyBody: '`POST` without a body',
  InvalidJson: 'the body is not valid JSON',
  InvalidReading: 'the body, or one element of its array, is not a valid reading; nothing of it was stored',
  DatabaseRejected: 'PostgreSQL cannot hold a value in the body',
  InvalidQuery: 'a name in the query is unknown or occurs twice, or its value is not allowed',
  InvalidDevice: 'the path does not hold a valid device id',
  Unauthenticated: 'no valid credential: `Authorization: Bearer` with a secret or a token, or `X-API-Key` with a ' +
    'secret',
  Forbidden: 'the role of the principal does not allow the request',
  OriginRefused: 'a web page asks for MQTT over WebSocket, and its origin is not in `VITAL_WS_ORIGINS`',
  DeviceNotFound: 'no reading of this device was ever stored',
  DeadLetterNotFound: 'there is no dead letter with this id',
  RouteNotFound: 'there is no route for this URL',
  MethodNotAllowed: 'the route does not take the method; `Allow` lists the methods that it takes',
  RequestTimeout: 'the request did not arrive within 30 s, or its headers within 10 s',
  BodyTooLarge: 'the body is larger than `VITAL_PACKET_BYTES_MAX`',
  UnsupportedContentEncoding: 'the body is compressed',
  UnsupportedMediaType: 'the `Content-Type` is not `application/json`',
  Overloaded: 'too many readings wait to become durable',
  TooManyRequests: 'more than `VITAL_HTTP_REQUESTS_PER_SECOND_MAX`, or more than 5 wrong credentials a second of ' +
    'one address',
  HeadersTooLarge: 'URL and headers are larger than 16 KiB',
  Internal: 'a defect of the gateway; its log has the cause',
  Unavailable: 'the readings could not be made durable in time',
  ErasureBusy: 'a device cannot be erased now; the details say whether it stays requested',
  AuthenticationUnavailable: 'the credential is not known, and PostgreSQL or the issuer of the token does not answer',
  ReadsBusy: 'a read that could not begin within two seconds because others are under way',
  DatabaseUnavailable: 'a read while PostgreSQL does not answer'
}

/** Every error of the HTTP side, by status. */
export function httpErrorsSections (): Section[] {
  const rows = Object.entries(HTTP_ERRORS).map(([name, HttpError]) => {
    const { code, statusCode } = new HttpError()
    return [`\`${code}\``, String(statusCode), WHEN[name as keyof typeof HTTP_ERRORS]]
  })
  return [{ file: 'src/http/README.md', name: 'errors', text: toMarkdownTable(['code', 'status', 'when'], rows) }]
}
