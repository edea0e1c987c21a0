import { join } from 'node:path'
import {
  Metadata, type sendUnaryData, Server, ServerCredentials, type ServerDuplexStream, type ServerUnaryCall,
  type ServiceDefinition, status
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { ReflectionService } from '@grpc/reflection'
import type { Logger } from 'pino'
import type { IsTrusted } from '../../broker/listen/address.ts'
import type { LoginRefusals } from '../../broker/connect/login-refusals.ts'
import type { ServerTls } from '../../broker/listen/tls-handshakes.ts'
import type { Rates } from '../../broker/publish/rate-limiter.ts'
import type { Principal } from '../../schemas/principal.ts'
import { HTTP_ERRORS } from '../http/errors.ts'
import type { SpendTogether } from '../http/rate-limit.ts'
import type { AcceptRequest } from '../ingest/request-outcome.ts'
import type { Metrics } from '../metrics/metrics.ts'
import { createAdmission, type GrpcAuthenticate } from './admission.ts'
import { type Answer, encodeAnswer, toAnswer, toTooLarge } from './answers.ts'
import { addGrpcMetrics } from './grpc-metrics.ts'
import { addHealth } from './health.ts'
import { GRPC_LIMITS } from './limits.ts'
import { createGrpcListener } from './listener.ts'
import { PublishStream } from './publish-stream.ts'
import { decodeRequest, readNumber } from './requests.ts'
import { Streams } from './streams.ts'

/** Options of {@link createGrpcServer}. */
export interface GrpcServerOptions {
  readonly host: string
  /** 0 picks a free port. */
  readonly port: number
  readonly tls: ServerTls | undefined
  readonly isProxy: IsTrusted
  readonly connectionsMax: number
  /** Beyond, a request is answered REJECTED. */
  readonly requestBytesMax: number
  /** Of one stream. */
  readonly rates: Rates
  /** Calls of one principal; 0: no limit. */
  readonly requestsPerSecondMax: number
  /** Calls count at all gateways together; `null`: this gateway stands alone. */
  readonly spendTogether: SpendTogether | null
  readonly authenticate: GrpcAuthenticate
  readonly refusals: LoginRefusals
  /** Unix milliseconds until which an authenticated principal may stay; `undefined`: nothing has changed. */
  readonly untilOf: (principal: Principal | null) => number | undefined
  readonly ingest: AcceptRequest
  readonly isReady: () => boolean
  readonly isStopping: () => boolean
  readonly metrics: Metrics
  readonly logger: Logger
}

const SCHEMAS = join(import.meta.dirname, '../../schemas')

const pass = (bytes: Buffer): Buffer => bytes

/** Messages pass as bytes: `requests.ts` decodes them, `answers.ts` encodes them. */
const INGEST: ServiceDefinition = {
  Publish: toMethod('Publish', true),
  Send: toMethod('Send', false)
}

function toMethod (name: string, isStreamed: boolean) {
  return {
    path: `/vital.v1.Ingest/${name}`,
    requestStream: isStreamed,
    responseStream: isStreamed,
    requestSerialize: pass,
    requestDeserialize: pass,
    responseSerialize: pass,
    responseDeserialize: pass
  }
}

/** gRPC ingest: the service `vital.v1.Ingest`, health and reflection. Listens after `start`. */
export function createGrpcServer (options: GrpcServerOptions) {
  const { ingest, requestBytesMax, rates, untilOf, logger } = options
  const admission = createAdmission(options)
  const streams = new Streams()
  const server = new Server({
    interceptors: [admission.interceptor],
    // Channelz would keep a record of every connection and call, for a service that we do not offer.
    'grpc.enable_channelz': 0,
    'grpc.max_receive_message_length': requestBytesMax * GRPC_LIMITS.messageBytesFactor,
    'grpc.max_concurrent_streams': GRPC_LIMITS.callsPerConnectionMax,
    'grpc.keepalive_time_ms': GRPC_LIMITS.pingIntervalMs,
    'grpc.keepalive_timeout_ms': GRPC_LIMITS.pingTimeoutMs,
    'grpc.max_connection_idle_ms': GRPC_LIMITS.idleTimeoutMs,
    'grpc-node.max_session_memory': GRPC_LIMITS.sessionMemoryMb
  })
  server.addService(INGEST, { Publish: publish, Send: send })
  const health = addHealth(server, options.isReady)
  const proto = loadSync('vital/v1/ingest.proto', { includeDirs: [SCHEMAS] })
  new ReflectionService(proto).addToServer(server)
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure())
  const listener = createGrpcListener({
    ...options, onConnection: (socket) => { injector.injectConnection(socket) }
  })
  let timer: NodeJS.Timeout | null = null
  addGrpcMetrics(options.metrics, () => ({
    connections: listener.connections,
    streams: streams.size,
    callsRefused: admission.counts.refused,
    callsLimited: admission.counts.limited
  }))

  function publish (stream: ServerDuplexStream<Buffer, Buffer>): void {
    const call = admission.callOf(stream.metadata)
    const untilMs = untilOf(call.principal)
    if (untilMs !== undefined) call.expiresAtMs = Math.min(call.expiresAtMs, untilMs)
    // Before the first message, so that a client that waits for headers learns that it was admitted.
    stream.sendMetadata(toHeaders())
    streams.add(new PublishStream(stream, call, {
      ingest,
      requestBytesMax,
      rates,
      isPaused: () => streams.isPaused,
      onClosed: (closed) => { streams.remove(closed) }
    }))
    if (call.expiresAtMs <= Date.now()) streams.expire(Date.now())
  }

  function send ({ request, metadata }: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>): void {
    const { principal } = admission.callOf(metadata)
    const untilMs = untilOf(principal)
    if (untilMs !== undefined && untilMs <= Date.now()) {
      callback({ code: status.UNAUTHENTICATED, details: new HTTP_ERRORS.Unauthenticated().message })
      return
    }
    const answer = (given: Answer) => { callback(null, encodeAnswer(given)) }
    if (request.length > requestBytesMax) return answer(toTooLarge(readNumber(request)))
    const { number, readings } = decodeRequest(request)
    const onlyDevice = principal?.role === 'device' ? principal.id : null
    ingest({ readings, bytes: request.length, onlyDevice, isStreamed: false }, (outcome) => {
      answer(toAnswer(number, outcome))
    })
  }

  return {
    /** As of the broker. */
    pauseReading (): void { streams.pause() },
    resumeReading (): void { streams.resume() },
    guarded: streams,

    /** @returns its address, once it listens */
    async start (): Promise<{ address: string, port: number }> {
      const bound = await listener.start()
      health.start()
      timer = setInterval(() => { streams.expire(Date.now()) }, GRPC_LIMITS.checkIntervalMs).unref()
      return bound
    },

    /** Accepts no more connections and calls; open ones go on. */
    stopListening (): void {
      listener.stopListening()
      health.update()
    },

    /** Ends the streams once their answers have left, and settles once every connection is closed. */
    async stop (): Promise<void> {
      listener.stopListening()
      health.stop()
      if (timer !== null) clearInterval(timer)
      await streams.stop()
      await new Promise<void>((resolve) => {
        const deadline = setTimeout(() => {
          listener.destroy()
          resolve()
        }, 2 * GRPC_LIMITS.endMs)
        server.tryShutdown((error) => {
          if (error !== undefined) logger.debug({ err: error }, 'the gRPC server was not shut down in order')
          clearTimeout(deadline)
          resolve()
        })
      })
      listener.destroy()
    }
  }
}

export type GrpcServer = ReturnType<typeof createGrpcServer>

/** Names the accepted encodings; the library would name those that {@link createAdmission} refuses. */
function toHeaders (): Metadata {
  const metadata = new Metadata()
  metadata.set('grpc-accept-encoding', 'identity')
  return metadata
}
