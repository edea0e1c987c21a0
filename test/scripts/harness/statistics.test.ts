import t from 'tap'
import { parseStat } from '../../../scripts/harness/process-stat.ts'
import { ResponseScanner } from '../../../scripts/harness/response-scanner.ts'
import { Histogram, toSpread } from '../../../scripts/harness/statistics.ts'
import { sumMetric } from '../../../scripts/command-line/prometheus-text.ts'
import { parseWorkloads } from '../../../scripts/bench/workloads.ts'
import { exactly } from '../../helpers/exactly.ts'

t.test('the spread of measurements', (t) => {
  t.same(toSpread([5, 1, 9]), { median: 5, min: 1, max: 9 })
  t.same(toSpread([10, 2, 4, 1]), { median: 3, min: 1, max: 10 })
  t.throws(() => toSpread([]), RangeError)
  t.end()
})

t.test('the histogram keeps percentiles within 0.8 percent', (t) => {
  const histogram = new Histogram()
  t.equal(histogram.percentile(0.5), 0)
  for (let value = 1; value <= 100_000; value++) histogram.record(value)
  t.equal(histogram.total, 100_000)
  for (const share of [0.001, 0.25, 0.5, 0.99, 0.999, 1]) {
    const exact = Math.ceil(share * 100_000)
    const found = histogram.percentile(share)
    t.ok(found >= exact && found <= exact * 1.008, `${share}: ${found} for ${exact}`)
  }
  histogram.record(-1)
  t.equal(histogram.percentile(0), 0, 'a clock that steps back counts as 0')
  histogram.record(1e12)
  t.ok(histogram.percentile(1) >= 0x7fff_ffff, 'a value that is too large counts as the largest')
  t.end()
})

t.test('HTTP responses are found wherever TCP cuts them', (t) => {
  const response = 'HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\nContent-Length: 21\r\n\r\n{"status":"accepted"}'
  const bytes = Buffer.from(response + response.replace('202 Accepted', '503 Busy') + response)
  for (let size = 1; size <= bytes.length; size += 7) {
    const scanner = new ResponseScanner()
    const found: number[] = []
    for (let at = 0; at < bytes.length; at += size) {
      const chunk = bytes.subarray(at, at + size)
      scanner.scan(chunk, chunk.length, (status) => found.push(status))
    }
    t.same(found, [202, 503, 202], `in pieces of ${size}`)
  }
  t.end()
})

t.test('a process may have any name', (t) => {
  const stat = parseStat('42 (a) b (c) S 7 42 42 0 -1 0 0 0 0 0 100 50 30 20 20 0 1 0')
  t.match(stat, { pid: 42, parent: 7 })
  t.equal(stat.cpuS, 2)
  t.end()
})

t.test('a metric is summed over its labels, without metrics that share its prefix', (t) => {
  const text = '# TYPE a_total counter\na_total{transport="mqtt"} 3\n' +
    'a_total{transport="http",reason="x y"} 4\na_total_more 9\nb 5\n'
  t.equal(sumMetric(text, 'a_total'), 7)
  t.equal(sumMetric(text, 'b'), 5)
  t.end()
})

t.test('workloads are found by name and by shape', (t) => {
  t.match(parseWorkloads('7x3,http,open,open@500'), exactly(
    { name: '7x3', connections: 7, inFlight: 3, qos: 1, reference: 'broker' },
    { name: 'http', protocol: 'http', reference: 'http' },
    { name: 'open@10000', ratePerS: 10_000 }, { name: 'open@40000', ratePerS: 40_000 }, { name: 'open@500', ratePerS: 500 }
  ))
  t.throws(() => parseWorkloads('toString'), /unknown workload "toString"/)
  t.end()
})
