import t from 'tap'
import { toRejectionText } from '../../../../scripts/devices/fleet/device-client.ts'
import { toExitCode, toReport } from '../../../../scripts/devices/fleet/report.ts'
import { Tally } from '../../../../scripts/devices/fleet/tally.ts'

function tallyOf (planned: number, latenciesMs: readonly number[]): Tally {
  const tally = new Tally(planned)
  tally.sent = planned
  for (const latencyMs of latenciesMs) tally.acknowledge(latencyMs)
  return tally
}

t.test('latency is exact to three figures for any number of readings', async (t) => {
  t.equal(new Tally(1).latency(), null)
  const latency = tallyOf(10_000, Array.from({ length: 10_000 }, (_, n) => (n + 1) / 10)).latency()
  t.ok(Math.abs((latency?.p50Ms ?? 0) - 500) <= 1, `p50 is ${latency?.p50Ms}`)
  t.ok(Math.abs((latency?.p99Ms ?? 0) - 990) <= 1, `p99 is ${latency?.p99Ms}`)
  t.ok(Math.abs((latency?.maxMs ?? 0) - 1000) <= 1, `max is ${latency?.maxMs}`)
})

t.test('a time beyond the histogram, or below its unit, still counts', async (t) => {
  const latency = tallyOf(2, [0, 1e12]).latency()
  t.equal(latency?.p50Ms, 0.001)
  t.ok((latency?.maxMs ?? 0) >= 86_400_000 * 0.999)
})

t.test('the report of a good run', async (t) => {
  t.strictSame(toReport(tallyOf(1200, Array.from({ length: 1200 }, () => 2)), 'complete', 2000), [
    'sent            1,200 of 1,200 readings in 2.0 s (600/s)',
    'acknowledged    1,200',
    'unacknowledged  0',
    'rejected        0',
    'resent          0 (DUP), over 0 reconnects',
    'acknowledgement p50 2.00 ms, p99 2.00 ms, max 2.00 ms'
  ])
})

t.test('the report of a run that gave up names the last fault', async (t) => {
  const tally = new Tally(10)
  tally.sent = 3
  tally.lastFault = 'connect ECONNREFUSED'
  const report = toReport(tally, 'stalled', 1000).join('\n')
  t.match(report, /acknowledgement none measured/)
  t.match(report, /unacknowledged {2}3/)
  t.match(report, /7 readings not sent; the last fault of a connection: connect ECONNREFUSED/)
})

t.test('exit status', async (t) => {
  t.equal(toExitCode(tallyOf(2, [1, 1]), 'complete'), 0)
  t.equal(toExitCode(tallyOf(2, [1]), 'complete'), 1)
  t.equal(toExitCode(tallyOf(2, [1]), 'stopped'), 1)
  const stopped = new Tally(5)
  t.equal(toExitCode(stopped, 'stopped'), 0, 'unsent readings are not lost when the user stopped the run')
  t.equal(toExitCode(stopped, 'stalled'), 1)
  const rejected = tallyOf(1, [1])
  rejected.rejected = 1
  t.equal(toExitCode(rejected, 'complete'), 1)
})

t.test('a rejection in one line', async (t) => {
  const rejection = { reason: 'invalid_reading', errors: [{ path: '/timestamp', message: 'is required' }], receivedAt: 1 }
  t.equal(toRejectionText(Buffer.from(JSON.stringify(rejection))), 'invalid_reading: /timestamp is required')
  t.equal(toRejectionText(Buffer.from('{"reason":"whim"}')), 'unknown reason')
  t.equal(toRejectionText(Buffer.from('{')), 'no JSON')
})
