import { fastify, type FastifyBaseLogger, LogController } from 'fastify'
import type { Logger } from 'pino'
import { type IsTrusted, toAddress } from '../../broker/listen/address.ts'
import type { ServerTls } from '../../broker/listen/tls-handshakes.ts'
import { LoginRefusals } from '../../broker/connect/login-refusals.ts'
import type { WebSockets } from '../../broker/listen/web-socket.ts'
import type { HttpApp } from './app.ts'
import { addAuthentication, type HttpAuthenticate, OPEN } from './authentication.ts'
import { addCors } from './cors.ts'
import { collectDocs, serveDocs } from './docs.ts'
import { answerClientError, answerError } from './error-answer.ts'
import { HTTP_ERRORS } from './errors.ts'
import type { AcceptPost } from '../ingest/post-outcome.ts'
import { HTTP_LIMITS } from './limits.ts'
import type { Events } from '../events/events.ts'
import { createListener, type Listener } from './listener.ts'
import { createToOrigin } from './origin.ts'
import { type Page, servePage } from './page/page.ts'
import type { SpendTogether } from './rate-limit.ts'
import type { RouteReads } from '../reads/reads.ts'
import { deleteVitalData, type Erase } from './routes/delete-vital-data.ts'
import { getEvents } from './routes/get-events.ts'
import { getDeadLetters } from './routes/get-dead-letters.ts'
import { type Health, getHealth } from './routes/get-health.ts'
import { getHistory } from './routes/get-history.ts'
import { getMetrics } from './routes/get-metrics.ts'
import { findVitalData, listVitalData } from './routes/get-vital-data.ts'
import { postVitalData } from './routes/post-vital-data.ts'
import { refuseOtherMethods } from './routes/refuse-other-methods.ts'
import { addComponents } from './schema-refs.ts'
import { countAnswers } from './send-answer.ts'
import { validatorCompiler } from './validator.ts'

export interface HttpServerOptions {
  readonly host: string
  /** 0 picks a free port. */
  readonly port: number
  /** HTTPS instead of HTTP. */
  readonly tls?: ServerTls | undefined
  /** Takes upgrades to MQTT. */
  readonly webSockets?: WebSockets | undefined
  /** Peers whose `X-Forwarded-For` is believed; without it none is believed. */
  readonly isProxy?: IsTrusted | undefined
  /** Which routes: those for operation, all others, or all. */
  readonly part?: 'operation' | 'public' | 'all'
  /** Origins whose pages may read answers. */
  readonly origins?: readonly string[]
  readonly bodyBytesMax: number
  /** Sockets at a time; beyond, a new one is closed. */
  readonly connectionsMax?: number
  /** Without it there is no POST. */
  readonly ingest?: AcceptPost
  /** Without them there are no reads: a process that only stores. */
  readonly reads?: RouteReads['reads']
  readonly deadLetters?: RouteReads['deadLetters']
  readonly history?: RouteReads['history']
  /** Counts the memory that answers of reads hold. */
  readonly holdBytes?: RouteReads['holdBytes']
  /** Where PostgreSQL has replicas. */
  readonly position?: RouteReads['position']
  /** Without it there is no DELETE. */
  readonly erase?: Erase
  /** Without it there is no stream of events. */
  readonly events?: Pick<Events, 'hasRoom' | 'listen'>
  /** Authenticates a request; without it every request may do everything. */
  readonly authenticate?: HttpAuthenticate
  /** Of one principal, or of one address while no credentials exist; 0: no limit. */
  readonly requestsPerSecondMax?: number
  /** Requests count at all gateways together; `null`, the default: this gateway stands alone. */
  readonly spendTogether?: SpendTogether | null
  /** A request was answered 429 for its rate. */
  readonly onLimited?: () => void
  /** Milliseconds that never run backwards, by which rates are limited. */
  readonly monotonicMs?: () => number
  /** Where refused requests are counted and logged. */
  readonly refusals?: LoginRefusals
  readonly health: () => Health
  /** The live page; without it `/` is 404. */
  readonly page?: Page
  /** Prometheus' text exposition format. */
  readonly metrics: () => Promise<string>
  readonly logger: Logger
  /** Of the gateway, for the documentation. */
  readonly version: string
}

const READS_ALONE = 'is for a gateway: this process (vital-gateway api) answers reads alone'

/**
 * The HTTP side: `POST /vital-data` under the same promise as MQTT, reads, metrics, health and documentation.
 * Listens after `start`.
 */
export function createHttpServer (options: HttpServerOptions) {
  const { host, port, logger, isProxy = () => false, part = 'all' } = options
  let listener!: Listener
  const app: HttpApp = fastify({
    loggerInstance: logger as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    // A logger for each request would add only its number, which no other line has.
    childLoggerFactory: (parent) => parent,
    bodyLimit: options.bodyBytesMax,
    trustProxy: (address) => isProxy(toAddress(address)),
    routerOptions: { maxParamLength: HTTP_LIMITS.paramLengthMax },
    // Requests that arrive during stop are answered like any other; the canned 503 has no code.
    return503OnClosing: false,
    frameworkErrors: answerError,
    clientErrorHandler: (error, socket) => { answerClientError(error, socket, logger) },
    serverFactory: (handler) => {
      listener = createListener({
        handler,
        tls: options.tls,
        webSockets: options.webSockets,
        toOrigin: createToOrigin(isProxy),
        connectionsMax: options.connectionsMax ?? HTTP_LIMITS.connectionsMax
      })
      return listener.server
    }
  })
  app.setErrorHandler(answerError)
  app.setNotFoundHandler(() => { throw new HTTP_ERRORS.RouteNotFound() })
  app.setValidatorCompiler(validatorCompiler)
  // Schemas of answers are for the documentation. Compiled by fast-json-stringify they would drop or convert fields
  // that a schema lacks, and be slower where `vitals` holds any JSON: 26 µs a page of 20 devices, JSON.stringify 21.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data))
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => { done(null, body) })
  addComponents(app)
  addCors(app, options.origins ?? [])
  addAuthentication(app, {
    authenticate: options.authenticate ?? OPEN,
    requestsPerSecondMax: options.requestsPerSecondMax ?? 0,
    spendTogether: options.spendTogether ?? null,
    onLimited: options.onLimited ?? (() => {}),
    monotonicMs: options.monotonicMs ?? (() => performance.now()),
    refusals: options.refusals ?? new LoginRefusals(logger)
  })
  app.register(async (routes) => {
    await collectDocs(routes, options.version)
    if (part !== 'operation') {
      if (options.ingest !== undefined) postVitalData(routes, options.ingest, options.position ?? null)
      const counted = countAnswers(options.holdBytes ?? (() => () => {}))
      if (options.reads !== undefined) {
        listVitalData(routes, options.reads, counted)
        findVitalData(routes, options.reads, counted)
      }
      if (options.history !== undefined) getHistory(routes, options.history, counted)
      if (options.erase !== undefined) deleteVitalData(routes, options.erase)
      if (options.events !== undefined) getEvents(routes, options.events)
      if (options.deadLetters !== undefined) getDeadLetters(routes, options.deadLetters, counted)
      if (options.page !== undefined) servePage(routes, { ...options, page: options.page })
    }
    if (part !== 'public') {
      getMetrics(routes, options.metrics)
      getHealth(routes, options.health)
    }
    refuseOtherMethods(routes, options.ingest === undefined && options.reads !== undefined ? READS_ALONE : undefined)
    if (part !== 'operation') await serveDocs(routes, options.version)
  })

  /** @returns its address, once it listens */
  async function start (): Promise<{ address: string, port: number }> {
    await app.ready()
    const bound = await listener.listen(host, port)
    logger.info({ protocol: options.tls === undefined ? 'http' : 'https', ...bound }, 'listening')
    return bound
  }

  /** Stops listening, waits for open answers, and closes the connections that are left after `timeoutMs`. */
  async function stop (timeoutMs: number = HTTP_LIMITS.stopTimeoutMs): Promise<void> {
    await listener.close(timeoutMs)
    await app.close()
  }

  /** The slow part of a start: builds the routes and their documents. Does not listen yet. */
  const prepare = async (): Promise<void> => { await app.ready() }

  return { app, prepare, start, stopListening: () => { listener.stopListening() }, stop }
}
