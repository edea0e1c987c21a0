import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import { findFreePort } from '../../../db/embedded/cluster.ts'
import { sumMetric } from '../../command-line/prometheus-text.ts'
import { readReadiness } from '../../harness/checks/metrics.ts'
import type { Query, Violation } from '../../harness/checks/stored.ts'
import type { Belongings } from '../../harness/belongings.ts'
import { createQuery, OwnPostgres } from '../../harness/own-postgres.ts'
import type { Random } from '../../harness/random.ts'
import { until } from '../../harness/until.ts'
import type { Program } from '../rig/build.ts'
import type { Break } from '../rig/injection.ts'
import { ClusterGateway } from './cluster-gateway.ts'
import { createHaproxy, createRedis } from './engine.ts'

const GATEWAYS = 2
const WHOLE_TIMEOUT_MS = 60_000

export interface StageOptions {
  readonly belongings: Belongings
  readonly program: Program
  readonly dir: string
  readonly random: Random
  readonly breaks: Break | undefined
  /** Of clients. */
  readonly connections: number
  readonly onViolation: (violation: Violation) => void
  /** A gateway was ready again after so many milliseconds. */
  readonly onRecovered: (ms: number) => void
}

/** Two gateways, HAProxy, Redis and PostgreSQL on loopback. */
export interface Stage {
  readonly gateways: readonly ClusterGateway[]
  readonly haproxy: ReturnType<typeof createHaproxy>
  readonly redis: ReturnType<typeof createRedis>
  readonly postgres: OwnPostgres
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
  const ports = { mqtt: await findFreePort(), http: await findFreePort(), stats: await findFreePort(), redis: await findFreePort() }
  const postgres = await OwnPostgres.create(dir, pino({ level: 'silent' }))
  const redisDir = join(dir, 'redis')
  await mkdir(redisDir)
  const redis = createRedis({ belongings, dir: redisDir, port: ports.redis })
  await redis.start()
  const env = {
    DATABASE_URL: postgres.url,
    REDIS_URL: `redis://127.0.0.1:${ports.redis}`,
    VITAL_TRUSTED_PROXIES: '127.0.0.1',
    VITAL_PROXY_PROTOCOL: 'true',
    ...belongings.keepsDirs && { VITAL_LOG_LEVEL: 'debug' },
    VITAL_DEAD_LETTERS_MAX: '10000000',
    VITAL_DEAD_LETTERS_PER_DEVICE_MAX: '1000000'
  }
  const args = breaks === undefined ? [program.gateway] : [program.gatewayUnderTest, JSON.stringify({ breaks })]
  const gateways: ClusterGateway[] = []
  for (let index = 0; index < GATEWAYS; index++) {
    gateways.push(new ClusterGateway({
      belongings,
      name: `gateway-${index + 1}`,
      dir,
      args,
      env,
      mqttPort: await findFreePort(),
      httpPort: await findFreePort(),
      connections,
      onViolation
    }))
  }
  // One makes the tables; the other finds them.
  for (const gateway of gateways) await gateway.start()
  const haproxy = createHaproxy({ belongings, dir, ports, gateways: gateways.map((gateway) => gateway.options) })
  await haproxy.start()

  async function findFault (): Promise<string | null> {
    for (const { options: { name, httpPort } } of gateways) {
      const { code, databaseStatus } = await readReadiness(httpPort)
      if (code !== 200) return `${name} is not ready`
      if (databaseStatus !== 'up') return `${name}: PostgreSQL is ${databaseStatus}`
      const response = await fetch(`http://127.0.0.1:${httpPort}/metrics`, { signal: AbortSignal.timeout(5000) })
      if (sumMetric(await response.text(), 'vital_redis_up') !== 1) return `${name}: Redis is away`
    }
    return await haproxy.countUp() === 2 * GATEWAYS ? null : 'HAProxy does not find all gateways'
  }

  return {
    gateways,
    haproxy,
    redis,
    postgres,
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
      for (const gateway of gateways) {
        await gateway.stop()
        gateway.watch.stop()
      }
      await haproxy.kill()
      await redis.kill()
      await postgres.stop('SIGQUIT')
    }
  }
}
