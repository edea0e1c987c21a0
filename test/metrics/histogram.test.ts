import { Histogram, type Metric, Registry } from 'prom-client'
import t from 'tap'
import { CountingHistogram } from '../../src/metrics/histogram.ts'

t.test('a scrape equals that of a histogram of prom-client', async (t) => {
  const bounds = [0.001, 0.5, 1, 10]
  const [ours, theirs] = [new Registry(), new Registry()]
  const counting = new CountingHistogram('vital_x_seconds', 'X', bounds)
  ours.registerMetric(counting as unknown as Metric)
  const histogram = new Histogram({ name: 'vital_x_seconds', help: 'X', buckets: bounds, registers: [theirs] })
  t.equal(await ours.metrics(), await theirs.metrics(), 'before the first value')
  for (const value of [0, 0.001, 0.0010001, 0.5, 0.75, 1, 10, 10.5, 5000]) {
    counting.observe(value)
    histogram.observe(value)
  }
  t.equal(await ours.metrics(), await theirs.metrics())
  t.match(await ours.metrics(), /^vital_x_seconds_bucket\{le="0.5"\} 4$/m)
  t.match(await ours.metrics(), /^vital_x_seconds_bucket\{le="\+Inf"\} 9$/m)
})
