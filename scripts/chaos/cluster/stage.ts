import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import { findFreePort } from '../../../db/embedded/cluster.ts'
import { sumMetric } from '../../command-line/prometheus-text.ts'
import { readReadiness } from '../../harness/checks/metrics.ts'
import type { Query, Violation } from '../../harness/checks/stored.ts'
import type { Belongings } from '../../harness/belongings.ts'
import { createKafka, type Kafka, type KafkaPrograms } from '../../harness/kafka-cluster.ts'
import { createQuery, OwnPostgres } from '../../harness/own-postgres.ts'
import type { Random } from '../../harness/random.ts'
import { until } from '../../harness/until.ts'
import type { Program } from '../rig/build.ts'
import type { Break } from '../rig/injection.ts'
import type { StreamsOptions } from '../streams/engines.ts'
import { createStreams, type Streams } from '../streams/streams.ts'
import { ClusterGateway } from './cluster-gateway.ts'
import { createHaproxy, createRedis } from './engine.ts'

const GATEWAYS = 2
const SINKS = 2
const CONNECTIONS_WITH_STREAMS = 120
const WHOLE_TIMEOUT_MS = 60_000
/** Reads without a position go there then. */
const REPLICA_AGE_S_MAX = 5
/** By gateway. */
const ACK_AFTER = ['replicas', 'spool'] as const

type AckAfter = (typeof ACK_AFTER)[number]

/** Kafka between the gateways and PostgreSQL. */
export interface KafkaOptions extends KafkaPrograms {
  readonly brokers: number
  /** `both`: the first gateway acknowledges after replicas, the second after its spool. */
  readonly ackAfter: AckAfter | 'both'
}

export interface StageOptions {
  readonly belongings: Belongings
  readonly program: Program
  readonly dir: string
  readonly random: Random
  readonly breaks: Break | undefined
  /** `null`: gateways write to PostgreSQL. */
  readonly kafka: KafkaOptions | null
  /** With Kafka: lakes, exports and Flink; `null`: none. */
  readonly streams: StreamsOptions | null
  readonly strikes: ReadonlyArray<{ readonly name: string }>
  /** Connections of clients. */
  readonly connections: number
  readonly onViolation: (violation: Violation) => void
  /** A gateway was ready again after `ms`. */
  readonly onRecovered: (ms: number) => void
}

/** Two gateways, HAProxy, Redis, PostgreSQL and a replica on loopback; with Kafka its brokers and two sinks, and no replica. */
export interface Stage {
  readonly gateways: readonly ClusterGateway[]
  /** None without Kafka. */
  readonly sinks: readonly ClusterGateway[]
  readonly kafka: Kafka | null
  readonly streams: Streams | null
  /** The Node.js of gateways and sinks, and `vital-gateway`. */
  readonly node: string
  readonly commandLine: string
  /** Times in which readings were acknowledged that may be lost, because their topic was deleted. */
  readonly excused: Array<{ readonly fromMs: number, readonly toMs: number }>
  readonly violate: (checker: Violation['checker'], message: string) => void
  readonly haproxy: ReturnType<typeof createHaproxy>
  readonly redis: ReturnType<typeof createRedis>
  readonly postgres: OwnPostgres
  /** `null` with Kafka: what is acknowledged there has no place in the log of PostgreSQL yet. */
  readonly replica: OwnPostgres | null
  readonly query: Query
  /** Of HAProxy. */
  readonly mqttPort: number
  readonly httpPort: number
  readonly between: (min: number, max: number) => number
  readonly startGateway: (gateway: ClusterGateway) => Promise<void>
  /** Waits until every part serves again. @returns what does not, after a minute; `null`: all do */
  readonly untilWhole: () => Promise<string | null>
  /** SIGTERM of the gateways, then the end of the rest. */
  readonly stop: () => Promise<void>
}

export async function createStage (options: StageOptions): Promise<Stage> {
  const { belongings, program, dir, random, breaks, connections, onViolation, onRecovered } = options
  const own = { belongings, dir, connections, onViolation }
  const ports = { mqtt: await findFreePort(), http: await findFreePort(), stats: await findFreePort(), redis: await findFreePort() }
  const postgres = await OwnPostgres.create(dir, pino({ level: 'silent' }))
  if (options.streams !== null) await raiseConnections(postgres)
  const replica = options.kafka === null ? await postgres.replicate(dir) : null
  const redisDir = join(dir, 'redis')
  await mkdir(redisDir)
  const redis = createRedis({ belongings, dir: redisDir, port: ports.redis })
  await redis.start()
  const disks = options.strikes.some(({ name }) => name === 'fill-broker-disk') ? belongings : null
  const hasAverages = options.streams?.flinkJars != null
  const kafka = options.kafka === null
    ? null
    : await createKafka({ ...options.kafka, ...own, commandLine: program.commandLine, hasAverages, disks })
  const node = options.kafka?.node
  const shared = {
    DATABASE_URL: postgres.url,
    REDIS_URL: `redis://127.0.0.1:${ports.redis}`,
    VITAL_LATEST_CACHE: 'redis',
    VITAL_DEAD_LETTERS_MAX: '10000000',
    VITAL_DEAD_LETTERS_PER_DEVICE_MAX: '1000000',
    ...kafka?.env,
    ...belongings.keepsDirs && { VITAL_LOG_LEVEL: 'debug' }
  }
  const env = {
    ...shared,
    ...options.kafka !== null && {
      VITAL_JOURNAL: 'kafka',
      ...options.kafka.brokers < 3 && { VITAL_KAFKA_ALLOW_WEAK: 'true' }
    },
    ...replica !== null && { DATABASE_READ_URL: replica.url },
    VITAL_TRUSTED_PROXIES: '127.0.0.1',
    VITAL_PROXY_PROTOCOL: 'true'
  }
  const args = breaks === undefined ? [program.gateway] : [program.gatewayUnderTest, JSON.stringify({ breaks })]
  const gateways: ClusterGateway[] = []
  for (let index = 0; index < GATEWAYS; index++) {
    const ackAfter = options.kafka?.ackAfter === 'both' ? ACK_AFTER[index] : options.kafka?.ackAfter
    const ownEnv = ackAfter === undefined ? env : { ...env, VITAL_ACK_AFTER: ackAfter }
    gateways.push(new ClusterGateway({
      ...own, name: `gateway-${index + 1}`, node, args, env: ownEnv, mqttPort: await findFreePort(), httpPort: await findFreePort()
    }))
  }
  const sinks: ClusterGateway[] = []
  for (let index = 0; index < (kafka === null ? 0 : SINKS); index++) {
    sinks.push(new ClusterGateway({
      ...own, name: `sink-${index + 1}`, node, args: [program.commandLine, 'sink'], env: shared, mqttPort: 0, httpPort: await findFreePort()
    }))
  }
  // One makes the tables; the others find them.
  for (const process of [...gateways, ...sinks]) await process.start()
  const streams = options.streams === null || kafka === null
    ? null
    : await createStreams({ parts: options.streams, own, node: options.kafka!.node, program, env: shared })
  const haproxy = createHaproxy({ belongings, dir, ports, gateways: gateways.map((gateway) => gateway.options) })
  await haproxy.start()

  async function findFault (): Promise<string | null> {
    for (const { options: { name, httpPort } } of gateways) {
      const { code, databaseStatus } = await readReadiness(httpPort)
      if (code !== 200) return `${name} is not ready`
      if (databaseStatus !== 'up') return `${name}: PostgreSQL is ${databaseStatus}`
      const response = await fetch(`http://127.0.0.1:${httpPort}/metrics`, { signal: AbortSignal.timeout(5000) })
      const text = await response.text()
      if (sumMetric(text, 'vital_redis_up') !== 1) return `${name}: Redis is away`
      const ageS = replica === null ? 0 : sumMetric(text, 'vital_replica_age_seconds')
      if (!(ageS <= REPLICA_AGE_S_MAX)) return `${name}: the replica is away, or ${ageS} s behind`
    }
    for (const { options: { name, httpPort } } of sinks) {
      if ((await readReadiness(httpPort)).code !== 200) return `${name} is not ready`
    }
    const fault = await streams?.findFault() ?? null
    if (fault !== null) return fault
    return await haproxy.countUp() === 2 * GATEWAYS ? null : 'HAProxy does not find all gateways'
  }

  return {
    gateways,
    sinks,
    kafka,
    streams,
    node: node ?? process.execPath,
    commandLine: program.commandLine,
    excused: [],
    violate: (checker, message) => { onViolation({ checker, message }) },
    haproxy,
    redis,
    postgres,
    replica,
    query: createQuery(postgres.url),
    mqttPort: ports.mqtt,
    httpPort: ports.http,
    between: (min, max) => random.between(min, max),
    startGateway: async (gateway) => { onRecovered(await gateway.start()) },
    async untilWhole () {
      let fault: string | null = 'nothing answers'
      await until(async () => (fault = await findFault()) === null, WHOLE_TIMEOUT_MS)
      return fault
    },
    async stop () {
      await streams?.stop()
      for (const process of [...gateways, ...sinks]) {
        await process.stop()
        process.watch.stop()
      }
      for (const broker of kafka?.brokers ?? []) await broker.kill()
      await haproxy.kill()
      await redis.kill()
      await replica?.stop('SIGQUIT')
      await postgres.stop('SIGQUIT')
    }
  }
}

/** Two gateways and two sinks use nearly all of the 40 connections that an embedded PostgreSQL allows. */
async function raiseConnections (postgres: OwnPostgres): Promise<void> {
  await createQuery(postgres.url)(`alter system set max_connections = ${CONNECTIONS_WITH_STREAMS}`)
  await postgres.stop('SIGINT')
  await postgres.start()
}
