import t from 'tap'
import { describeMetrics } from '../../src/metrics/describe.ts'
import { createMetrics } from '../../src/metrics/metrics.ts'
import { startGateway } from '../helpers/gateway.ts'
import { createTestDatabase } from '../helpers/postgres.ts'

/** `name type`, of every metric of ours in a text exposition. */
function namesIn (exposition: string): string[] {
  return [...exposition.matchAll(/^# TYPE (vital_\S+ \S+)$/gm)].map(([, name]) => name!).sort()
}

t.test('all values of one scrape belong to the same instant', async (t) => {
  const metrics = createMetrics()
  let readings = 5
  metrics.counter('vital_a_total', 'A', () => readings)
  metrics.counters('vital_b_total', 'B', ['transport'], () => [[{ transport: 'mqtt' }, readings]])
  const observe = metrics.histogram('vital_c_seconds', 'C', [1])
  metrics.gauge('vital_d', 'D', () => readings)
  metrics.stateGauge('vital_e', 'E', ['on', 'off'], () => readings === 5 ? 'on' : 'off')
  const scrape = metrics.render()
  // Counters change from the next statement on, and in each microtask in which prom-client goes on.
  readings++
  observe(0.5)
  for (let turn = 0; turn < 20; turn++) {
    await Promise.resolve()
    readings++
  }
  const exposition = await scrape
  for (const line of [
    'vital_a_total 5', 'vital_b_total{transport="mqtt"} 5', 'vital_d 5', 'vital_e{state="on"} 1', 'vital_e{state="off"} 0',
    'vital_c_seconds_count 0'
  ]) {
    t.match(exposition, new RegExp(`^${line.replaceAll(/[{}]/g, '\\$&')}$`, 'm'), line)
  }
  t.match(await metrics.render(), /^vital_a_total 26$/m, 'the next scrape reads again')
})

t.test('a gateway exposes exactly the described metrics', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const { httpUrl } = await startGateway(t, {
    DATABASE_URL: connectionString,
    DATABASE_READ_URL: connectionString,
    VITAL_GRPC_PORT: '0',
    REDIS_URL: 'redis://127.0.0.1:1',
    VITAL_LATEST_CACHE: 'redis'
  })
  const scraped = namesIn(await (await fetch(`${httpUrl}/metrics`)).text())
  const described = describeMetrics().registry.getMetricsAsArray()
    .map((metric) => `${metric.name} ${(metric as unknown as { readonly type: string }).type}`)
    // Those of a sink: test/sink/sink.test.ts; of a lake: test/lake/lake.test.ts; of a bridge: test/bridge/bridge.test.ts;
    // of an export: test/export/influxdb.test.ts; of Kafka as the journal: test/kafka/gateway.test.ts.
    .filter((metric) => !/^vital_(?:sink|lake|export|kafka|bridge)_/.test(metric)).sort()
  t.ok(scraped.length > 60)
  t.same(scraped, described)
})
