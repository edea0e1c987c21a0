import type { Logger } from 'pino'
import type { RedisCluster } from '../../broker/cluster/create-cluster.ts'
import packageJson from '../../package.json' with { type: 'json' }
import { ConfigError } from '../config/config-error.ts'
import type { Metrics } from '../metrics/metrics.ts'
import { addClusterMetrics } from './cluster-metrics.ts'

interface OpenClusterOptions {
  /** `null`: this gateway stands alone. */
  readonly url: string | null
  /** Of this process; no other one has it. */
  readonly id: string
  readonly metrics: Metrics
  readonly logger: Logger
}

/**
 * Opens the cluster, which makes several gateways one broker; `null` where this one stands alone. Redis' client and all
 * code that uses it are loaded here and nowhere else.
 * @throws `ConfigError` where that client is not installed
 */
export async function openCluster ({ url, id, metrics, logger }: OpenClusterOptions): Promise<RedisCluster | null> {
  if (url === null) return null
  const { createCluster } = await loadCluster()
  const cluster = createCluster({ url, id, logger })
  addClusterMetrics(metrics, cluster.statistics)
  return cluster
}

async function loadCluster () {
  try {
    return await import('../../broker/cluster/create-cluster.ts')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new ConfigError('REDIS_URL needs a package that is not installed: npm install ' +
      `ioredis@${packageJson.peerDependencies.ioredis}`, { cause: error })
  }
}
