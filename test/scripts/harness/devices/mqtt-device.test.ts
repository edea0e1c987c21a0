import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { LedgerFile } from '../../../../scripts/harness/checks/ledger-file.ts'
import { MqttDevice } from '../../../../scripts/harness/devices/mqtt-device.ts'
import { createTally, type Tally } from '../../../../scripts/harness/devices/tally.ts'
import { exactly } from '../../../helpers/exactly.ts'
import { until } from '../../../helpers/until.ts'

interface Options {
  readonly protocolVersion?: 4 | 5
  readonly qos?: 1 | 2
  readonly until: (tally: Tally, device: MqttDevice) => boolean
}

/** A device with three publishes, and a broker that answers the last of them with the scripted answer of that connection. */
async function converse (t: Test, answers: readonly Buffer[], { protocolVersion = 4, qos = 1, until: holds }: Options) {
  let connections = 0
  const received: Buffer[] = []
  const server = createServer((socket) => {
    const answer = answers[connections++]
    let isAnswered = false
    socket.on('error', () => {})
    socket.write(Buffer.from(protocolVersion === 5 ? [0x20, 3, 0, 0, 0] : [0x20, 2, 0, 0]))
    socket.on('data', (chunk: Buffer) => {
      received.push(chunk)
      if (!chunk.includes('"n":2}') || isAnswered || answer === undefined) return
      isAnswered = true
      socket.write(answer)
    })
    t.teardown(() => socket.destroy())
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => server.close())
  const ledger = new LedgerFile(join(t.testdir(), 'ledger.txt'))
  const tally = createTally()
  const device = new MqttDevice({
    id: 'd',
    secret: null,
    port: (server.address() as AddressInfo).port,
    qos,
    protocolVersion,
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
  while (!holds(tally, device)) await new Promise((resolve) => setTimeout(resolve, 10))
  return { tally, device, received: () => Buffer.concat(received) }
}

async function publish (t: Test, answer: readonly number[]): Promise<Tally> {
  const pubacks = Buffer.from(answer.flatMap((id) => [0x40, 2, 0, id]))
  const { tally } = await converse(t, [pubacks], { until: ({ acknowledged, faults }) => acknowledged + faults.length >= answer.length })
  return tally
}

t.test('acknowledgements in order are accepted, and those out of order are a fault', async (t) => {
  t.match(await publish(t, [1, 2, 3]), { sent: 3, acknowledged: 3, faults: exactly() })
  t.match(await publish(t, [2, 1]), { acknowledged: 1, faults: exactly(/acknowledgement of packet 2 out of turn/) })
  t.match(await publish(t, [1, 9]), { acknowledged: 1, faults: exactly(/acknowledgement of packet 9 out of turn/) })
})

t.test('with MQTT 5 a device drops a refused publish, and keeps one that a DISCONNECT interrupts', async (t) => {
  const refusal = Buffer.from([0x40, 3, 0, 1, 0x99, 0x40, 2, 0, 2, 0xe0, 1, 0x89])
  const { tally, device } = await converse(t, [refusal, Buffer.from([0x40, 2, 0, 3])], {
    protocolVersion: 5, until: (_tally, device) => device.unacknowledged === 0
  })
  t.match(tally, { sent: 3, acknowledged: 3, refused: 1, resent: 1, disconnects: 1, disconnectCodes: { 0x89: 1 }, faults: exactly() })
  t.ok(device.hasRoom)
})

t.test('a PUBREC that refuses ends the exchange', async (t) => {
  const answer = Buffer.from([0x50, 3, 0, 1, 0x97, 0x50, 2, 0, 2, 0x70, 2, 0, 2, 0x50, 2, 0, 3])
  const { tally, received } = await converse(t, [answer], { protocolVersion: 5, qos: 2, until: ({ acknowledged }) => acknowledged === 3 })
  t.match(tally, { acknowledged: 3, refused: 1, faults: exactly() })
  await t.resolves(until(() => received().includes(Buffer.from([0x62, 2, 0, 3])), 'the last PUBREL'))
  t.notOk(received().includes(Buffer.from([0x62, 2, 0, 1])))
})
