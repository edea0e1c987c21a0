import { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { pino } from 'pino'
import { toAddressKey } from '../../../broker/listen/address-key.ts'
import { createAdmission } from '../../../broker/connect/admission.ts'
import { LimitHits } from '../../../broker/limit-hits.ts'
import type { Origin } from '../../../broker/listen/origin.ts'
import { connectPacket, durable, publishPacket, RawClient, startBroker } from '../../helpers/broker.ts'
import { until } from '../../helpers/until.ts'

const createStream = () => new Duplex({ read () {}, write (_chunk, _encoding, done) { done() } })
const from = (remoteAddress: string): Origin => ({ transport: 'tcp', remoteAddress, certificateNames: [] })

function createTestAdmission (
  t: Test, limits: { connectionsMax?: number, connectionsPerAddressMax?: number, connectsPerSecondMax?: number }
) {
  const served: string[] = []
  const hits = new LimitHits()
  const admission = createAdmission({
    limits: { connectionsMax: 1000, connectionsPerAddressMax: 1000, connectsPerSecondMax: 0, ...limits },
    hits,
    serve: (_stream, { remoteAddress }) => { served.push(remoteAddress) },
    logger: pino({ level: 'silent' })
  })
  t.teardown(() => { admission.stop() })
  const admit = (address: string) => {
    const stream = createStream()
    admission.admit(stream, from(address))
    return stream
  }
  return { admission, admit, served, hits }
}

t.test('an IPv4 address and an IPv6 network of 64 bits count as one address each', async (t) => {
  t.equal(toAddressKey('192.0.2.7'), '192.0.2.7')
  t.equal(toAddressKey('2001:db8:1:2::1'), toAddressKey('2001:db8:1:2:ffff:ffff:ffff:ffff'))
  t.equal(toAddressKey('2001:0db8:0001:0002::1'), toAddressKey('2001:db8:1:2::9'))
  t.not(toAddressKey('2001:db8:1:2::1'), toAddressKey('2001:db8:1:3::1'))
  t.equal(toAddressKey('fe80::1%eth0'), toAddressKey('fe80::2%eth0'))
  t.equal(toAddressKey('::1'), toAddressKey('::2'))
  t.not(toAddressKey('1::'), toAddressKey('::1'))
})

t.test('an address has its share of the connections, and so has an IPv6 network', async (t) => {
  const { admission, admit, served, hits } = createTestAdmission(t, { connectionsMax: 6, connectionsPerAddressMax: 2 })
  const first = admit('192.0.2.1')
  admit('192.0.2.1')
  t.ok(admit('192.0.2.1').destroyed)
  admit('2001:db8::1')
  admit('2001:db8::2')
  t.ok(admit('2001:db8::3').destroyed)
  t.equal(admission.open, 4)
  t.equal(hits.counts.get('connections_per_address'), 2)
  first.destroy()
  await until(() => admission.open === 3, 'room')
  t.notOk(admit('192.0.2.1').destroyed)
  for (let count = 0; count < 3; count++) admit('127.0.0.1')
  t.equal(served.filter((address) => address === '127.0.0.1').length, 2, 'loopback has no share, but the limit of all connections holds')
  t.equal(hits.counts.get('connections'), 1)
})

t.test('beyond the rate connections wait, and turns go round by address', async (t) => {
  const { admit, served, hits, admission } = createTestAdmission(t, { connectsPerSecondMax: 20 })
  for (let count = 0; count < 20; count++) admit('192.0.2.1')
  t.equal(served.length, 20, 'a second\'s worth at once')
  const flood = Array.from({ length: 30 }, () => admit('192.0.2.1'))
  const gone = admit('192.0.2.2')
  admit('192.0.2.2')
  admit('192.0.2.3')
  t.equal(served.length, 20)
  t.equal(hits.counts.get('connects_per_second'), 33)
  gone.destroy()
  flood[0]!.emit('error', new Error('reset while it waited'))
  await until(() => served.includes('192.0.2.3') && served.includes('192.0.2.2'), 'the others\' turn')
  t.ok(Math.max(served.indexOf('192.0.2.2'), served.indexOf('192.0.2.3')) < 24, 'not behind the flood')
  await until(() => served.length === 20 + 32, 'all but the one that left')
  t.strictSame([hits.counts.get('connections'), hits.counts.get('connections_per_address')], [0, 0])
  const last = Array.from({ length: 30 }, () => admit('192.0.2.1'))
  admission.stop()
  t.ok(last.at(-1)!.destroyed)
  t.ok(admit('192.0.2.4').destroyed)
})

t.test('every client of a reconnect storm is served, with the publishes behind its CONNECT, while logins are slow', async (t) => {
  const devices = 200
  const { port, broker, ingest } = await startBroker(t, {
    answer: durable,
    limits: { connectsPerSecondMax: 50 },
    authenticate: async ({ clientId }) => {
      await sleep(10)
      return { status: 'accepted', principal: { id: clientId, role: 'device' } }
    }
  })
  const clients = await Promise.all(Array.from({ length: devices }, async (_, index) => {
    const client = await RawClient.open(t, port)
    const topic = `vital/d${index}`
    client.send(connectPacket({ clientId: `d${index}` }), publishPacket(1, { topic }), publishPacket(2, {
      topic, qos: 2
    }), publishPacket(3, { topic }))
    return client
  }))
  await until(() => clients.every((client) => client.of('puback').length === 2 &&
    client.of('pubrec').length === 1), 'all to be acknowledged', 30_000)
  t.ok(clients.every((client) => client.packets.map(({ cmd }) => cmd).join() === 'connack,puback,pubrec,puback'))
  t.equal(ingest.seen.length, devices * 3)
  t.equal(broker.statistics().clientsConnected, devices)
})
