import { fastify, type FastifyBaseLogger, LogController } from 'fastify'
import type { Logger } from 'pino'
import type { HttpApp } from './app.ts'
import { collectDocs, serveDocs } from './docs.ts'
import { answerClientError, answerError } from './error-answer.ts'
import { HTTP_ERRORS } from './errors.ts'
import type { HttpIngest } from './ingest.ts'
import { HTTP_LIMITS } from './limits.ts'
import { createListener, type Listener } from './listener.ts'
import type { Reads } from './reads.ts'
import { deleteVitalData, type Erase } from './routes/delete-vital-data.ts'
import { type DeadLetterReads, getDeadLetters } from './routes/get-dead-letters.ts'
import { type Health, getHealth } from './routes/get-health.ts'
import { getMetrics } from './routes/get-metrics.ts'
import { findVitalData, listVitalData } from './routes/get-vital-data.ts'
import { postVitalData } from './routes/post-vital-data.ts'
import { refuseOtherMethods } from './routes/refuse-other-methods.ts'
import { addComponents } from './schema-refs.ts'
import { validatorCompiler } from './validator.ts'

export interface HttpServerOptions {
  readonly host: string
  /** 0 picks a free port. */
  readonly port: number
  readonly bodyBytesMax: number
  readonly ingest: HttpIngest
  readonly reads: Reads
  readonly deadLetters: DeadLetterReads
  readonly erase: Erase
  readonly health: () => Health
  /** Prometheus' text exposition format. */
  readonly metrics: () => Promise<string>
  readonly logger: Logger
  /** Of the gateway, for the documentation. */
  readonly version: string
}

/**
 * The HTTP side: `POST /vital-data` under the same promise as MQTT, reads, metrics, health and documentation.
 * Listens after `start`.
 */
export function createHttpServer (options: HttpServerOptions) {
  const { host, port, logger } = options
  let listener!: Listener
  const app: HttpApp = fastify({
    loggerInstance: logger as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: options.bodyBytesMax,
    routerOptions: { maxParamLength: HTTP_LIMITS.paramLengthMax },
    // Requests that arrive during stop are answered like any other; the canned 503 has no code.
    return503OnClosing: false,
    frameworkErrors: answerError,
    clientErrorHandler: (error, socket) => { answerClientError(error, socket, logger) },
    serverFactory: (handler) => {
      listener = createListener(handler)
      return listener.server
    }
  })
  app.setErrorHandler(answerError)
  app.setNotFoundHandler(() => { throw new HTTP_ERRORS.RouteNotFound() })
  app.setValidatorCompiler(validatorCompiler)
  // Schemas of answers are for the documentation. Compiled by fast-json-stringify they would drop or convert what a
  // schema forgot, and be slower where `vitals` holds any JSON: 26 µs for a page of 20 devices, JSON.stringify 21.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data))
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => { done(null, body) })
  addComponents(app)
  app.register(async (routes) => {
    await collectDocs(routes, options.version)
    postVitalData(routes, options.ingest)
    listVitalData(routes, options.reads)
    findVitalData(routes, options.reads)
    deleteVitalData(routes, options.erase)
    getDeadLetters(routes, options.deadLetters)
    getMetrics(routes, options.metrics)
    getHealth(routes, options.health)
    refuseOtherMethods(routes)
    await serveDocs(routes)
  })

  /** @returns where it listens, once it does */
  async function start (): Promise<{ address: string, port: number }> {
    await app.ready()
    const bound = await listener.listen(host, port)
    logger.info({ protocol: 'http', ...bound }, 'listening')
    return bound
  }

  /** Stops listening, waits for the answers still owed, and closes what is left after `timeoutMs`. */
  async function stop (timeoutMs: number = HTTP_LIMITS.stopTimeoutMs): Promise<void> {
    await listener.close(timeoutMs)
    await app.close()
  }

  return { app, start, stopListening: () => { listener.stopListening() }, stop }
}
