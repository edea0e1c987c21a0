/**
 * The common base of the processes beside the gateway (`vital-gateway api`, `sink`, `bridge`, `lake` and `export`): a
 * name in PostgreSQL, start and stop in order, credentials, and metrics and health over HTTP. Each process adds its own
 * parts.
 */
import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import type { Kysely } from 'kysely'
import type { Logger } from 'pino'
import type { toReadApiName } from '../db/gateway-names.ts'
import type { Tables } from '../db/tables.ts'
import packageJson from '../package.json' with { type: 'json' }
import type { Config } from './config/config.ts'
import { ConfigError } from './config/config-error.ts'
import type { HttpServerOptions } from './http/server.ts'
import { addProcessMetrics, createMetrics, type Metrics } from './metrics/metrics.ts'
import { announceReady } from './operations/announce-ready.ts'
import { connectWhenever } from './operations/connect-database.ts'
import { addReadinessMetrics } from './operations/readiness.ts'
import { createLifecycle, type Lifecycle } from './process/lifecycle.ts'
import { withoutIngest } from './process/without-ingest.ts'
import type { RouteReads } from './reads/reads.ts'
import { exposedMessage } from './security/access.ts'
import { createSecurity } from './security/security.ts'
import { createTransport } from './transport/transport.ts'

/** Everything that a service gives to its parts. */
export interface ServiceSurroundings {
  /** Without Redis, gRPC and MQTT connections, which only gateways have. */
  readonly config: Config
  readonly connectionString: string
  /** Tells this process apart from others on the database. */
  readonly applicationName: string
  /** A part registers its end with `onStop` as soon as it is made, so that a start that fails ends it too. */
  readonly lifecycle: Pick<Lifecycle, 'signal' | 'onStop'>
  readonly metrics: Metrics
  readonly logger: Logger
}

type Health = ReturnType<HttpServerOptions['health']>

/** The parts of a service, made and not yet started. */
export interface ServiceParts {
  readonly database: { readonly kysely: Kysely<Tables> }
  readonly clock: { nowMs (): number }
  /** Whether the service does its work. @param isAdmitting - whether some client can be authenticated now */
  isReady (isAdmitting: boolean): boolean
  health (): Omit<Health, 'live' | 'ready' | 'warnings'>
  /** Parts that report conditions that weaken the service now. */
  readonly sources: ReadonlyArray<{ warnings (): readonly string[] }>
  /** Routes that are served besides metrics and health. */
  readonly routes?: RouteReads
  /** Checks PostgreSQL; called again until it succeeds. @throws errors as {@link connectWhenever} classifies them */
  prepare (): Promise<void>
  /** Called once, when PostgreSQL answers and the credentials are loaded. */
  start (): void
  /** Called once, after the first attempt to reach PostgreSQL and before anything listens. */
  readonly open?: () => Promise<void>
  /** Settles when nothing is in progress. Parts that are registered with `onStop` end afterwards. */
  stop (): Promise<void>
}

interface ServiceOptions {
  readonly config: Config
  readonly logger: Logger
  /** Makes the name in PostgreSQL. */
  readonly toName: typeof toReadApiName
  /** Messages for the operator. */
  readonly texts: {
    /** DATABASE_URL is unset. */
    readonly noDatabase: string
    /** PostgreSQL does not answer at the start. */
    readonly notConnected: string
    readonly notYetReady: string
  }
  readonly createParts: (surroundings: ServiceSurroundings) => Promise<ServiceParts>
}

/** A process beside the gateway; see the top of this file. */
export function createService ({ config: given, logger, toName, texts, createParts }: ServiceOptions) {
  const config = withoutIngest(given)
  const applicationName = toName({ host: hostname(), pid: process.pid, id: randomBytes(6).toString('hex') })
  const lifecycle = createLifecycle()
  const { signal, onStop } = lifecycle
  const metrics = createMetrics()
  let reload: () => Promise<void> = async () => {}

  async function startParts () {
    if (config.databaseUrl === null) throw new ConfigError(texts.noDatabase)
    for (const warning of [...config.warnings, ...config.notices]) logger.warn(warning)
    const parts = await createParts({ config, connectionString: config.databaseUrl, applicationName, lifecycle, metrics, logger })
    const transport = await createTransport({ config, applicationName, metrics, logger })
    reload = transport.reload
    const security = await createSecurity({
      ...config,
      dataDir: null,
      kysely: parts.database.kysely,
      isProxied: config.transport.trustedProxies.length > 0,
      hasClientCertificates: transport.hasClientCertificates,
      metrics,
      logger
    })
    const isReady = () => parts.isReady(security.isAdmitting) && !signal.aborted
    const warnings = () => [...config.warnings, ...[...parts.sources, transport, security].flatMap((source) => source.warnings())]
    const startedAtMs = parts.clock.nowMs()
    addReadinessMetrics(metrics, () => ({ startedAtMs, warnings: warnings().length }))
    addProcessMetrics(metrics)
    const http = transport.createHttp(null, security.authenticateHttp, {
      requestsPerSecondMax: config.httpRequestsPerSecondMax,
      refusals: security.refusals,
      ...parts.routes,
      health: () => ({ live: true, ready: isReady(), ...parts.health(), warnings: warnings() }),
      metrics: metrics.render,
      version: packageJson.version,
      logger
    })

    async function connect (): Promise<void> {
      await parts.prepare()
      await security.start()
      parts.start()
    }

    onStop(async () => {
      await http.stop()
      await Promise.all([parts.stop(), security.stop()])
    })
    onStop(await connectWhenever({ connect, told: texts.notConnected, signal, logger }))
    if (security.isExposed) throw new ConfigError(exposedMessage(config.host))
    await parts.open?.()
    await http.prepare()
    signal.throwIfAborted()
    const ports = await http.start()
    onStop(announceReady({ isReady, notYet: texts.notYetReady, logger }))
    return ports
  }

  return {
    /** @returns once it listens @throws coded errors whose message states the remedy */
    start: () => lifecycle.start(startParts),
    /** Settles when everything has ended. Work in progress is finished or given up. */
    stop: lifecycle.stop,
    /** Reads the certificates again. */
    reload: () => reload()
  }
}
