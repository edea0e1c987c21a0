import type { Logger } from 'pino'
import { createAddressSet } from '../../broker/listen/address.ts'
import type { Broker, BrokerOptions } from '../../broker/broker.ts'
import { DEFAULT_LIMITS } from '../../broker/limits.ts'
import { createWebSockets, type WebSockets } from '../../broker/listen/web-socket.ts'
import type { Config } from '../config/config.ts'
import { ConfigError } from '../config/config-error.ts'
import type { GrpcServer, GrpcServerOptions } from '../grpc/server.ts'
import type { HttpAuthenticate } from '../http/authentication.ts'
import { createHttpServer, type HttpServerOptions } from '../http/server.ts'
import type { Pipeline } from '../ingest/pipeline.ts'
import type { Metrics } from '../metrics/metrics.ts'
import type { Security } from '../security/security.ts'
import packageJson from '../../package.json' with { type: 'json' }
import { openCluster } from './open-cluster.ts'
import { createTls } from './tls.ts'
import { addTransportMetrics } from './transport-metrics.ts'

type TransportOptions = Pick<Config, 'host' | 'mqttPort' | 'httpPort' | 'packetBytesMax' | 'isAnonymousAllowed' |
  'httpConnectionsMax' | 'httpRequestsPerSecondMax' | 'grpcPort' | 'grpcConnectionsMax' | 'brokerLimits' | 'transport' | 'redisUrl'>
type GrpcOptions = Pick<GrpcServerOptions, 'isReady' | 'isStopping'> & {
  readonly security: Pick<Security, 'authenticateGrpc' | 'refusals' | 'untilOf' | 'guard'>
  readonly pipeline: Pick<Pipeline, 'acceptRequest' | 'addReader'>
}
type HttpOptions = Omit<HttpServerOptions, 'host' | 'port' | 'tls' | 'webSockets' | 'isProxy' | 'part' | 'onLimited' |
  'bodyBytesMax' | 'connectionsMax' | 'authenticate' | 'spendTogether'>

/**
 * Composes the listeners, and the layers below them: TLS, proxies, WebSocket, the cluster.
 * @throws `ConfigError` for certificates that cannot be used
 */
export async function createTransport (
  { config, applicationName, metrics, logger }: { config: TransportOptions, applicationName: string, metrics: Metrics, logger: Logger }
) {
  const { host, packetBytesMax, transport } = config
  const { admin } = transport
  const tls = transport.tls === null ? undefined : await createTls({ files: transport.tls, logger })
  const isProxy = createAddressSet(transport.trustedProxies)
  const cluster = await openCluster({ url: config.redisUrl, id: applicationName, metrics, logger })
  const broker: Pick<BrokerOptions, 'host' | 'port' | 'secure' | 'isProxy' | 'cluster'> = {
    cluster,
    host: transport.mqttHost,
    port: config.mqttPort,
    secure: tls && { host, port: transport.mqttsPort, tls },
    isProxy: transport.proxyProtocol ? isProxy : undefined
  }

  const spendTogether = cluster === null ? null : cluster.spend
  let webSockets: WebSockets | null = null
  let requestsLimited = 0
  addTransportMetrics(metrics, () => ({
    requestsLimited,
    webSocketsRefused: webSockets?.refused ?? 0,
    certificateExpiresAtMs: tls?.expiresAtMs() ?? null
  }))

  /**
   * HTTP, with metrics and health on a server of their own where that is configured.
   * @param accept - takes MQTT over WebSocket; `null`: none is accepted
   */
  function createHttp (accept: Broker['accept'] | null, authenticate: HttpAuthenticate, options: HttpOptions) {
    webSockets = accept === null
      ? null
      : createWebSockets({
        onConnection: accept, origins: transport.webSocketOrigins, limits: { ...DEFAULT_LIMITS, packetBytesMax }, logger
      })
    const shared = {
      ...options,
      origins: transport.webSocketOrigins,
      tls,
      isProxy,
      bodyBytesMax: packetBytesMax,
      connectionsMax: config.httpConnectionsMax,
      spendTogether,
      onLimited () { requestsLimited++ }
    }
    const publicServer = createHttpServer({
      ...shared, host, port: config.httpPort, webSockets: webSockets ?? undefined, authenticate, part: admin === null ? 'all' : 'public'
    })
    const adminServer = admin === null
      ? null
      : createHttpServer({
        ...shared,
        ...admin,
        part: 'operation',
        // Clients on this machine need neither a secret nor a certificate.
        ...(admin.isLoopback
          ? { tls: undefined }
          : { authenticate: config.isAnonymousAllowed ? authenticate : demandCredentials(authenticate) })
      })
    return {
      /** Called before a start last checks its stop signal, so that listening then begins at once. */
      async prepare (): Promise<void> {
        await Promise.all([publicServer.prepare(), adminServer?.prepare()])
      },
      async start (): Promise<{ port: number, adminPort: number | null }> {
        const { port } = await publicServer.start()
        const bound = await adminServer?.start()
        return { port, adminPort: bound?.port ?? null }
      },
      async stop (): Promise<void> {
        webSockets?.stop()
        await Promise.all([publicServer.stop(), adminServer?.stop()])
      }
    }
  }

  /** gRPC; `null` where it is off. Its packages are loaded here and nowhere else. @throws `ConfigError` without them */
  async function createGrpc ({ security, pipeline, ...options }: GrpcOptions): Promise<GrpcServer | null> {
    if (config.grpcPort === null) return null
    const { createGrpcServer } = await loadGrpc()
    const grpc = createGrpcServer({
      ...options,
      host,
      port: config.grpcPort,
      tls,
      isProxy,
      connectionsMax: config.grpcConnectionsMax,
      requestBytesMax: packetBytesMax,
      rates: { ...DEFAULT_LIMITS, ...config.brokerLimits },
      requestsPerSecondMax: config.httpRequestsPerSecondMax,
      spendTogether,
      authenticate: security.authenticateGrpc,
      refusals: security.refusals,
      untilOf: security.untilOf,
      ingest: pipeline.acceptRequest,
      metrics,
      logger
    })
    pipeline.addReader(grpc)
    security.guard(grpc.guarded)
    return grpc
  }

  return {
    broker,
    createHttp,
    createGrpc,
    /** Clients may prove themselves with a certificate. */
    hasClientCertificates: transport.tls !== null && transport.tls.clientCaFile !== null,
    /** Takes renewed certificates; the old ones stay where these cannot be used. */
    reload: async (): Promise<void> => { await tls?.reload() },
    warnings: (): string[] => [...tls?.warnings() ?? [], ...cluster?.warnings() ?? []]

  }
}

async function loadGrpc () {
  try {
    return await import('../grpc/server.ts')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    const { peerDependencies } = packageJson
    const packages = Object.entries(peerDependencies)
      .flatMap(([name, version]) => name.includes('grpc') ? [`${name}@${version}`] : [])
    throw new ConfigError(`VITAL_GRPC_PORT needs packages that are not installed: npm install ${packages.join(' ')}`, { cause: error })
  }
}

/** The gateway may be open to this machine, but not on an address that others reach. */
function demandCredentials (authenticate: HttpAuthenticate): HttpAuthenticate {
  return async (headers, mayLookUp) => {
    const answer = await authenticate(headers, mayLookUp)
    return answer.status === 'accepted' && answer.principal === null
      ? { status: 'refused', reason: 'no_credentials' }
      : answer
  }
}
