/** A broker of a cluster as a process of its own, which a test kills or freezes. */
import { pino } from 'pino'
import { createBroker } from '../../../broker/broker.ts'
import { createCluster } from '../../../broker/cluster/create-cluster.ts'
import type { Ingest } from '../../../broker/ingest.ts'
import { durable } from '../../helpers/broker.ts'
import { QUICK_LIMITS } from '../../helpers/redis.ts'

const logger = pino()
const cluster = createCluster({ url: process.env['REDIS_URL']!, id: `killed-${process.pid}`, limits: QUICK_LIMITS, logger })
const ingest: Ingest = (publish) => {
  logger.info({ topic: publish.topic }, 'ingested')
  publish.settle(durable(publish))
}
const broker = createBroker({ host: '127.0.0.1', port: 0, version: '1.2.3', logger, cluster, ingest })
const { port } = await broker.start()
process.once('SIGTERM', () => { broker.stop().then(() => { process.exit(0) }, () => { process.exit(1) }) })
logger.info({ port }, 'listening')
