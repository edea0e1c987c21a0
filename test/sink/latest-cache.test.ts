/** The copy of the latest states in Redis, written by sinks and read by gateways that write to Kafka. */
import t from 'tap'
import { connectClient, startGateway } from '../helpers/gateway.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { NO_REDIS, startRedis } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'
import { isTrusted, readMetric, readPage, untilTrusted } from '../reads/latest-cache/gateways.ts'
import { createSinkRig, startSink } from './rig.ts'

if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)

  t.test('gateways answer pages from Redis while a sink maintains the copy, and from ' +
    'PostgreSQL otherwise', { skip: NO_REDIS }, async (t) => {
    await rig.makeAnew(2)
    const redis = await startRedis(t)
    const { connectionString } = await createTestDatabase(t)
    const variables = { REDIS_URL: redis.url, VITAL_LATEST_CACHE: 'redis' }
    const { sink } = await startSink(t, rig, connectionString, { variables })
    const journal = {
      ...variables, DATABASE_URL: connectionString, VITAL_JOURNAL: 'kafka', KAFKA_BROKERS: rig.kafka.brokers, VITAL_KAFKA_ALLOW_WEAK: 'true'
    }
    const [one, other] = [await startGateway(t, journal), await startGateway(t, journal)]
    await untilTrusted(one, other)
    const client = await connectClient(t, one.mqttPort)
    await client.publishAsync('vital/ward-3', JSON.stringify({ timestamp: Date.now() / 1000, heartRateValue: 61 }), { qos: 1 })
    const pages = await readMetric(other, 'vital_latest_cache_pages_total')
    await until(async () => (await readPage(other, 'sortBy=heartRate')).resources[0]?.heartRate === 61, 'the page to have it')
    t.ok(await readMetric(other, 'vital_latest_cache_pages_total') > pages, 'from Redis')
    await one.stop()
    await sink.stop()
    await until(async () => !await isTrusted(other), 'the copy not to be trusted without a sink')
    t.equal((await readPage(other, 'sortBy=heartRate')).resources[0]?.heartRate, 61, 'PostgreSQL answers')
  })
}
