import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { LedgerFile } from '../../../../scripts/harness/checks/ledger-file.ts'
import { MqttDevice } from '../../../../scripts/harness/devices/mqtt-device.ts'
import type { Tally } from '../../../../scripts/harness/devices/tally.ts'

/** A device with three publishes, and a broker that answers to the last of them as the test says. */
async function publish (t: Test, answer: readonly number[]): Promise<Tally> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.write(Buffer.from([0x20, 2, 0, 0]))
    let bytes = 0
    socket.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes > 100) for (const id of answer) socket.write(Buffer.from([0x40, 2, 0, id]))
    })
    t.teardown(() => socket.destroy())
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => server.close())
  const ledger = new LedgerFile(join(t.testdir(), 'ledger.txt'))
  const tally: Tally = { sent: 0, acknowledged: 0, resent: 0, connected: 0, disconnects: 0, faults: [] }
  const device = new MqttDevice({
    id: 'd',
    secret: null,
    port: (server.address() as AddressInfo).port,
    qos: 1,
    window: 10,
    keepaliveS: 10,
    ledger,
    tally,
    random: () => 0.5
  })
  t.teardown(() => {
    device.end()
    ledger.close()
  })
  for (let n = 0; n < 3; n++) device.publish([{ n, timestamp: n, kind: 'reading', fields: `{"heartRateValue":60,"n":${n}}` }])
  device.connect()
  while (tally.acknowledged + tally.faults.length < answer.length) await new Promise((resolve) => setTimeout(resolve, 10))
  return tally
}

t.test('acknowledgements in order are right, and out of order are a fault', async (t) => {
  t.match(await publish(t, [1, 2, 3]), { sent: 3, acknowledged: 3, faults: [] })
  t.match(await publish(t, [2, 1]), { acknowledged: 1, faults: [/acknowledgement of packet 2 out of turn/] })
  t.match(await publish(t, [1, 9]), { acknowledged: 1, faults: [/acknowledgement of packet 9 out of turn/] })
})
