import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Violation } from '../../../scripts/harness/checks/stored.ts'
import { Watch } from '../../../scripts/chaos/checks/watch.ts'
import { exactly } from '../../helpers/exactly.ts'

const MIB = 1024 * 1024
const FLAT = { isGone: false, isEnding: false, peakRssBytes: 150 * MIB, peakDescriptors: 70, sample: () => {}, logged: () => [] }

/** Watches a fake gateway for a few polls. @returns the violations */
async function watch (t: Test, gateway: Partial<typeof FLAT>, metrics: string): Promise<Violation[]> {
  const server = createServer((_request, response) => { response.end(metrics) })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => server.close())
  const told: Violation[] = []
  const watch = new Watch({
    gateway: () => ({ ...FLAT, ...gateway }),
    httpPort: () => (server.address() as AddressInfo).port,
    connections: 10,
    onViolation: (violation) => { told.push(violation) }
  })
  t.teardown(() => { watch.stop() })
  while (watch.scrapes < 2) await sleep(20)
  watch.stop()
  return told
}

t.test('memory, descriptors, buffer and ledger are watched', async (t) => {
  const well = 'vital_buffer_bytes 1000\nvital_readings_received_total{transport="mqtt"} ' +
    '3\nvital_readings_stored_total{transport="mqtt"} 3\n'
  t.same(await watch(t, {}, well), [])
  t.match(await watch(t, { peakRssBytes: 800 * MIB }, well), exactly({ checker: 'C5', message: /^memory is over its cap/ }), 'once')
  t.match(await watch(t, { peakDescriptors: 111 }, well), exactly({ checker: 'C5', message: /^too many descriptors: 111, for 10/ }))
  t.match(await watch(t, {}, `vital_buffer_bytes ${65 * MIB}\n`), exactly({ checker: 'C5', message: /^the buffer is over its bound/ }))
  t.match(await watch(t, {}, 'vital_readings_received_total{transport="mqtt"} 3\n'),
    exactly({ checker: 'C7', message: /^the ledger did not balance/ }))
})
