/**
 * What every process beside the gateway has in common (`vital-gateway api`, `sink`, `bridge`, `lake` and `export`): a name in PostgreSQL,
 * start and stop in order, credentials, and metrics and health over HTTP. Each brings its own parts.
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

/** What the parts of a service are made of. */
export interface ServiceSurroundings {
  /** Without what only gateways have. */
  readonly config: Config
  readonly connectionString: string
  /** Tells this process apart from others on the database. */
  readonly applicationName: string
  /** Parts that are made before an error are ended by `onStop`. */
  readonly lifecycle: Pick<Lifecycle, 'signal' | 'onStop'>
  readonly metrics: Metrics
  readonly logger: Logger
}

type Health = ReturnType<HttpServerOptions['health']>

/** The parts of a service, made and not yet started. */
export interface ServiceParts {
  readonly database: { readonly kysely: Kysely<Tables> }
  readonly clock: { nowMs (): number }
  /** Whether it does its work. @param isAdmitting - some client can be authenticated now */
  isReady (isAdmitting: boolean): boolean
  health (): Omit<Health, 'live' | 'ready' | 'warnings'>
  /** What weakens the service now, from each part that tells. */
  readonly sources: ReadonlyArray<{ warnings (): readonly string[] }>
  /** What is answered over HTTP beside metrics and health. */
  readonly routes?: RouteReads
  /** Looks at PostgreSQL, perhaps again and again. @throws as `connectWhenever` has it */
  prepare (): Promise<void>
  /** Called once, when PostgreSQL and the credentials are there. */
  start (): void
  /** Called once, when PostgreSQL was tried, before anything listens. */
  readonly open?: () => Promise<void>
  /** Settles when nothing is under way; what `onStop` was told of ends afterwards. */
  stop (): Promise<void>
}

interface ServiceOptions {
  readonly config: Config
  readonly logger: Logger
  /** Makes the name in PostgreSQL. */
  readonly toName: typeof toReadApiName
  /** What the operator is told. */
  readonly texts: {
    /** There is no DATABASE_URL. */
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
    /** Settles when everything has ended; what was under way is finished, or given up. */
    stop: lifecycle.stop,
    /** Reads the certificates again. */
    reload: () => reload()
  }
}
