import t from 'tap'
import { isReading } from '../../../schemas/reading.ts'
import { toDeviceId } from '../../../scripts/devices/patients/device.ts'
import { startBroker } from './fleet/broker.ts'
import { runScript } from './fleet/script.ts'

t.test('every simulated device publishes its readings, none with a future timestamp', async (t) => {
  const clients = new Set<string>()
  const broker = await startBroker(t)
  broker.aedes.on('client', ({ id }) => { clients.add(id) })
  const { status, stdout, stderr } = await runScript(t, 'simulate',
    ['--url', broker.url, '--devices', '20', '--rate', '20', '--duration', '0.5', '--seed', '7', '--connect-rate', '100'])
  t.equal(status, 0)
  t.equal(stderr, '')
  t.match(stdout, /20 devices, 20 readings a second each for 0\.5 s; connecting within 0\.2 s\n--seed 7\n/)
  t.match(stdout, /sent +200 of 200 readings/)
  t.match(stdout, /unacknowledged +0\n/)
  t.equal(broker.received.length, 200)
  t.equal(clients.size, 21, 'a connection for each device, and one that only checks the gateway')
  for (let index = 0; index < 20; index++) {
    const topic = `vital/${toDeviceId(index)}`
    const bodies = broker.received.filter((publish) => publish.topic === topic).map(({ body }) => body)
    t.equal(bodies.length, 10, topic)
    const times = bodies.map((body) => body['timestamp'] as number)
    t.strictSame(times, [...times].sort((a, b) => a - b), 'in order')
    for (const body of bodies) {
      if (!isReading(body, Date.now() / 1000 - 86_400)) t.fail(`no reading, or in the future: ${JSON.stringify(body)}`)
    }
  }
})

t.test('help', async (t) => {
  const { status, stdout } = await runScript(t, 'simulate', ['-h'])
  t.equal(status, 0)
  t.match(stdout, /vital-gateway simulate --devices 1000 --rate 1/)
})
