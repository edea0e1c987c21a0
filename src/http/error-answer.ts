import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import type { WebSocketRefusal } from '../../broker/listen/web-socket.ts'
import type { ErrorAnswer } from '../../schemas/vital-data.ts'
import { HTTP_ERRORS, type HttpError, withDetails } from './errors.ts'
import { answerLater } from './event-stream.ts'
import { RETRY_AFTER_OVERLOADED_S, RETRY_AFTER_UNAVAILABLE_S } from './limits.ts'

/** Sent with every JSON answer; the parameter has no meaning for JSON, but old clients look for it. */
export const JSON_TYPE = 'application/json; charset=utf-8'

const OWN_CODES: ReadonlySet<string> = new Set(Object.values(HTTP_ERRORS).map((HttpError) => new HttpError().code))

/** Our error for an error of Fastify, of one of its plugins or of Node. */
function translate (error: FaultyRequest): HttpError {
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new HTTP_ERRORS.BodyTooLarge()
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new HTTP_ERRORS.UnsupportedMediaType()
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return withDetails(new HTTP_ERRORS.InvalidDevice(), [{ path: '/device', message: 'is too long' }])
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new HTTP_ERRORS.RequestTimeout()
    case 'HPE_HEADER_OVERFLOW':
      return new HTTP_ERRORS.HeadersTooLarge()
    default:
      return translateStatus(error)
  }
}

function translateStatus (error: FaultyRequest): HttpError {
  if (error.code?.startsWith('HPE_') === true) return new HTTP_ERRORS.BadRequest()
  const { statusCode = 500 } = error
  if (statusCode === 404) return new HTTP_ERRORS.RouteNotFound()
  if (statusCode >= 400 && statusCode < 500) return new HTTP_ERRORS.BadRequest()
  return new HTTP_ERRORS.Internal({ cause: error })
}

/** Errors that may reach the handler: our own, Fastify's, Node's, and any that a bug throws. */
interface FaultyRequest extends Error {
  readonly code?: string
  readonly statusCode?: number
}

function toHttpError (error: FaultyRequest): HttpError {
  return error.code !== undefined && OWN_CODES.has(error.code) ? error as HttpError : translate(error)
}

/** The body of an error's answer. Its text comes from the catalogue alone, so nothing internal can leak. */
export function toErrorAnswer (error: HttpError): ErrorAnswer {
  const { statusCode, code, message, details } = error
  const answer: ErrorAnswer = { statusCode, code, error: STATUS_CODES[statusCode] ?? 'Error', message }
  if (details !== undefined) answer.details = [...details]
  return answer
}

/** `Retry-After` in seconds, where asking again can help. */
function retryAfterS (statusCode: number): number | null {
  if (statusCode === 429) return RETRY_AFTER_OVERLOADED_S
  return statusCode === 503 ? RETRY_AFTER_UNAVAILABLE_S : null
}

/** Fastify's error handler and its answer to unroutable URLs. Faults of the server are logged here, once. */
export function answerError (error: FaultyRequest, request: FastifyRequest, reply: FastifyReply): void {
  const known = toHttpError(error)
  if (known.statusCode >= 500) {
    const at = { method: request.method, route: request.routeOptions.url, err: known.cause ?? known }
    if (known.code === 'VITAL_INTERNAL') request.log.error(at, 'request failed')
    // Counted in vital_reads_refused_total; a line for each would cost more than the refusal.
    else if (known.code === 'VITAL_READS_BUSY') request.log.debug(at, 'request was refused')
    else request.log.warn(at, 'request could not be served')
  }
  if (retryAfterS(known.statusCode) !== null || known.statusCode >= 500) {
    if (request.routeOptions.config.isEventStream === true) return answerLater(reply, known.message)
  }
  // RFC 9110 §15.5.2: a 401 names the accepted credentials.
  if (known.statusCode === 401) {
    reply.header('www-authenticate', request.routeOptions.config.isForBrowsers === true
      ? 'Basic realm="Password: a secret or a token", charset="UTF-8"'
      : 'Bearer')
  }
  const retry = retryAfterS(known.statusCode)
  if (retry !== null) reply.header('retry-after', retry)
  // Fastify asks to close, but then the kernel resets the connection before a client that is still sending has read
  // why: 29 of 30 got no answer. Kept open, Node discards the rest of the body, for `requestTimeoutMs` at most.
  if (known.statusCode === 413) reply.removeHeader('connection')
  reply
    .code(known.statusCode)
    .header('content-type', JSON_TYPE)
    .header('x-content-type-options', 'nosniff')
    .send(JSON.stringify(toErrorAnswer(known)))
}

/** Responses that wait behind another one of their connection. */
const owed = new WeakMap<Duplex, ServerResponse[]>()

/** Records a response that waits for its turn. */
export function noteOwed (socket: Duplex, response: ServerResponse): void {
  const responses = owed.get(socket)
  if (responses === undefined) {
    owed.set(socket, [response])
    return
  }
  while (responses[0]?.writableFinished === true) responses.shift()
  responses.push(response)
}

/** The last answer that the connection must still send to a complete request. */
function lastOwed (socket: Socket): ServerResponse | undefined {
  const current = (socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage ?? null
  return [...current === null
    ? []
    : [current], ...owed.get(socket) ?? []].findLast(({ req, writableFinished }) => req.complete && !writableFinished)
}

/** Connections that close once an answer has left. */
const ending = new WeakSet<Socket>()

/**
 * Answers bytes that Node's parser refused, and closes the connection. Behind a complete request (bytes beyond its
 * Content-Length, say) the answer to that request is sent first, and is the last. Its data may be stored by then, and
 * a device without an answer would resend it for ever.
 */
export function answerClientError (error: FaultyRequest, socket: Socket, logger: Logger): void {
  if (ending.has(socket)) {
    // Its answer has left, and the client goes on sending.
    if (!socket.writable) socket.destroy()
    return
  }
  // The error holds the raw packet, which may hold readings: log its code alone.
  logger.debug({ code: error.code }, 'a connection sent no valid HTTP')
  // A failed TLS handshake has no request, and no answer could be written.
  const isHttp = /^(?:HPE|ERR_HTTP)_/.test(error.code ?? '')
  const last = isHttp ? lastOwed(socket) : undefined
  if (last !== undefined && socket.writable) {
    ending.add(socket)
    last.shouldKeepAlive = false
    last.once('finish', () => { socket.end() })
    return
  }
  // A request whose body is incomplete is the faulty one.
  const waiting = (socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage ?? null
  if (!isHttp || !socket.writable || waiting?.headersSent === true) {
    socket.destroy()
  } else {
    ending.add(socket)
    // Not destroyed at once: the reset that follows unread bytes would overtake the answer.
    socket.end(toRawAnswer(toHttpError(error)))
  }
}

/** A whole HTTP/1.1 answer, for a socket without a request. */
function toRawAnswer (error: HttpError, headers = ''): string {
  const body = JSON.stringify(toErrorAnswer(error))
  return `HTTP/1.1 ${error.statusCode} ${STATUS_CODES[error.statusCode] ?? 'Error'}\r\ncontent-type: ` +
    `${JSON_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n${headers}\r\n${body}`
}

/** Answers an upgrade to a WebSocket that is refused. */
export function refuseUpgrade (socket: Duplex, reason: WebSocketRefusal): void {
  const ErrorOfReason = {
    invalid: HTTP_ERRORS.BadRequest, origin: HTTP_ERRORS.OriginRefused, stopping: HTTP_ERRORS.Unavailable
  }[reason]
  socket.on('error', () => { socket.destroy() })
  socket.once('finish', () => { socket.destroy() })
  socket.end(toRawAnswer(new ErrorOfReason(), reason === 'invalid' ? 'sec-websocket-version: 13\r\n' : ''))
}

/** Answers a request that must not reach Fastify. */
export function refuseRequest (response: ServerResponse): void {
  const error = new HTTP_ERRORS.BadRequest()
  const body = JSON.stringify(toErrorAnswer(error))
  response.writeHead(error.statusCode, {
    'content-type': JSON_TYPE, 'content-length': Buffer.byteLength(body), connection: 'close'
  })
  response.end(body)
}
