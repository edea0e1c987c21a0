import type { Logger } from 'pino'
import { toBridgeName } from '../db/gateway-names.ts'
import { addBridgeMetrics } from './bridge/bridge-metrics.ts'
import { BRIDGE_LIMITS, type BridgeLimits } from './bridge/limits.ts'
import { openMemberFile } from './bridge/member-file.ts'
import { createUpstream, toAddress, toFilter } from './bridge/upstream.ts'
import { createClock } from './clock.ts'
import type { Config } from './config/config.ts'
import { ConfigError } from './config/config-error.ts'
import { createPipeline } from './ingest/pipeline.ts'
import { createOperations } from './operations/operations.ts'
import { toJournalHealth } from './operations/readiness.ts'
import { createUnread } from './reads/unread.ts'
import { createService, type ServiceParts, type ServiceSurroundings } from './service.ts'
import { openStorage } from './storage.ts'

const NO_BROKER = 'vital-gateway bridge needs VITAL_BRIDGE_URL: the MQTT 5 broker that it takes readings from.'
const TEXTS = {
  noDatabase: 'vital-gateway bridge needs DATABASE_URL: the PostgreSQL that gateways write to.',
  notConnected: 'PostgreSQL does not answer; readings go to the spool until it does, or to Kafka where that is the journal',
  notYetReady: 'not ready until the broker has the subscription and readings can be made durable; see /health/ready'
}

export interface BridgeOptions {
  readonly config: Config
  readonly logger: Logger
  /** Other bounds, for tests. */
  readonly limits?: Partial<BridgeLimits>
}

/**
 * The composition root of `vital-gateway bridge`: from an external broker into the journal that gateways have, with a spool of its own,
 * and metrics and health over HTTP. Gateways treat it as one of them, so it takes part in erasures.
 */
export function createBridge ({ config, logger, limits: changed = {} }: BridgeOptions) {
  const limits = { ...BRIDGE_LIMITS, ...changed }
  return createService({
    config, logger, toName: toBridgeName, texts: TEXTS, createParts: (surroundings) => createParts(surroundings, limits)
  })
}

async function createParts (surroundings: ServiceSurroundings, limits: BridgeLimits): Promise<ServiceParts> {
  const { config, metrics, logger, lifecycle: { signal } } = surroundings
  const { bridge, dataDir, packetBytesMax } = config
  if (bridge === null) throw new ConfigError(NO_BROKER)
  const clock = createClock({ ownMs: Date.now, monotonicMs: () => performance.now(), logger })
  const storage = await openStorage({ ...surroundings, createReads: createUnread, clock, faults: {} })
  const { kafka, reads, database } = storage
  const pipeline = createPipeline({
    ...storage, topic: bridge.topic.text, ackAfter: config.journal.ackAfter, limits: config, clock, metrics, logger
  })
  const operations = createOperations({
    ...config,
    ...storage,
    applicationName: surroundings.applicationName,
    pipeline,
    clock,
    forget: () => ({ retained: 0, queued: 0 }),
    onErased () {},
    tasks: [],
    isStopping: () => signal.aborted,
    signal,
    metrics,
    logger
  })
  const member = await openMemberFile({ dataDir, clientId: bridge.clientId, broker: toAddress(bridge), filter: toFilter(bridge) })
  const upstream = createUpstream({ config: bridge, member, ingest: pipeline.acceptPublish, limits, packetBytesMax, logger })
  pipeline.addReader(upstream)
  addBridgeMetrics(metrics, upstream.statistics)
  if (kafka !== null) pipeline.takeTarget(await kafka.connect())
  return {
    database,
    clock,
    isReady: () => pipeline.isDurable() && upstream.statistics().isSubscribed,
    health: () => toJournalHealth(pipeline),
    sources: [upstream, reads, operations, clock, pipeline],
    prepare: operations.prepareDatabase,
    start () {
      if (kafka === null) pipeline.takeTarget()
      operations.start()
      reads.start()
    },
    async open () {
      await pipeline.start()
      await upstream.start()
    },
    async stop () {
      operations.stop()
      upstream.pauseReading()
      await pipeline.drain()
      await upstream.stop()
      await operations.settled()
      await pipeline.stop().then(operations.leave)
      await reads.stop()
    }
  }
}
