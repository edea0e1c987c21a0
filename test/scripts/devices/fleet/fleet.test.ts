import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import t from 'tap'
import { type FleetDevice, reachGateway, runFleet, type FleetOptions } from '../../../../scripts/devices/fleet/fleet.ts'
import type { Logins } from '../../../../scripts/devices/fleet/logins.ts'
import { Tally } from '../../../../scripts/devices/fleet/tally.ts'
import { startBroker } from './broker.ts'

const DEVICES = ['a', 'b', 'c']
const READINGS = 80

/** Devices whose readings are numbered by their timestamps, `everyMs` apart. */
/** No credentials, for a gateway in the open mode. */
const NO_LOGINS: Logins = { ca: null, devices: null, of: () => null }

function toFleet (everyMs: number): FleetDevice[] {
  return DEVICES.map((device) => ({
    device,
    startMs: 0,
    readings: Array.from({ length: READINGS }, (_, n) => ({ dueMs: n * everyMs, reading: { timestamp: n } }))
  }))
}

async function run (url: string, options: Partial<FleetOptions> = {}) {
  const tally = new Tally(DEVICES.length * READINGS)
  const ending = await runFleet({
    url,
    protocolVersion: 4,
    runId: 'test',
    devices: toFleet(0),
    logins: NO_LOGINS,
    inFlightMax: 16,
    patienceMs: 20_000,
    tally,
    stop: new AbortController().signal,
    ...options
  })
  return { tally, ending }
}

t.test('every reading is sent once, in order, and is acknowledged', async (t) => {
  const broker = await startBroker(t)
  const { tally, ending } = await run(broker.url)
  t.equal(ending, 'complete')
  t.match(tally, { sent: 240, acknowledged: 240, resent: 0, reconnects: 0, rejected: 0, deaf: 0, online: 0, blocked: 0 })
  for (const device of DEVICES) {
    const order = broker.received.filter(({ topic }) => topic === `vital/${device}`).map(({ body }) => body['timestamp'])
    t.strictSame(order, Array.from({ length: READINGS }, (_, n) => n), device)
  }
})

t.test('a gateway that goes away and returns gets unacknowledged readings again, with DUP', async (t) => {
  let held = 0
  const broker = await startBroker(t, {
    acknowledge () {
      if (broker.received.length <= 60 || held >= 20) return true
      if (++held === 20) setImmediate(() => { broker.dropConnections() })
      return false
    }
  })
  const { tally, ending } = await run(broker.url, { devices: toFleet(5) })
  t.equal(ending, 'complete')
  t.match(tally, { sent: 240, acknowledged: 240, reconnects: 3, online: 0 })
  t.ok(tally.resent >= 20, `${tally.resent} resent`)
  t.equal(tally.resent, broker.received.filter(({ dup }) => dup).length)
  for (const device of DEVICES) {
    const times = broker.readingsOf(`vital/${device}`).map((body) => body['timestamp'])
    t.strictSame(times, Array.from({ length: READINGS }, (_, n) => n), `${device}: in order, nothing missing`)
  }
})

t.test('a device has a bounded number of readings in flight, and a run gives up without acknowledgements', async (t) => {
  const broker = await startBroker(t, { acknowledge: () => false })
  const { tally, ending } = await run(broker.url, { inFlightMax: 5, patienceMs: 500 })
  t.equal(ending, 'stalled')
  t.equal(broker.received.length, 15)
  t.match(tally, { sent: 15, acknowledged: 0, unacknowledged: 15, unsent: 225 })
})

t.test('a slow run does not count as stalled', async (t) => {
  const broker = await startBroker(t)
  const devices = toFleet(1000).map((device) => ({ ...device, readings: [...device.readings].slice(0, 2) }))
  const { ending } = await run(broker.url, { devices, patienceMs: 300, tally: new Tally(6) })
  t.equal(ending, 'complete')
})

t.test('a stop sends nothing more and waits for acknowledgements', async (t) => {
  const stop = new AbortController()
  const broker = await startBroker(t, {
    acknowledgeAfterMs: 600,
    acknowledge () {
      if (broker.received.length === 9) stop.abort()
      return true
    }
  })
  const { tally, ending } = await run(broker.url, { devices: toFleet(20), stop: stop.signal })
  t.equal(ending, 'stopped')
  t.equal(tally.unacknowledged, 0)
  t.ok(tally.sent >= 9 && tally.sent <= 12, `${tally.sent} sent`)
})

t.test('a reading that was acknowledged and then refused is counted, even when its rejection arrives last', async (t) => {
  const broker = await startBroker(t, {
    acknowledge ({ topic, body }) {
      if (topic === 'vital/b' && body['timestamp'] === READINGS - 1) {
        const payload = JSON.stringify({ reason: 'invalid_reading', errors: [{ path: '/timestamp', message: 'is odd' }], receivedAt: 1 })
        const packet = { cmd: 'publish', topic: `${topic}/rejected`, payload, qos: 1, retain: false, dup: false } as const
        setTimeout(() => { broker.aedes.publish(packet, () => {}) }, 50)
      }
      return true
    }
  })
  const { tally } = await run(broker.url)
  t.match(tally, { acknowledged: 240, rejected: 1, firstRejection: 'invalid_reading: /timestamp is odd' })
})

t.test('devices that may not subscribe to their rejections publish and are counted', async (t) => {
  const broker = await startBroker(t, { authorizeSubscribe: (_client, _subscription, callback) => { callback(null, null) } })
  const { tally } = await run(broker.url)
  t.match(tally, { acknowledged: 240, deaf: 3 })
})

t.test('a gateway that does not answer, closes the connection or refuses the login is reported at once', async (t) => {
  const server = createServer((socket) => { socket.destroy() })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `mqtt://user:secret@127.0.0.1:${(server.address() as AddressInfo).port}`
  await t.rejects(reachGateway({ url, protocolVersion: 4, runId: 'test', logins: NO_LOGINS, device: 'a' }), {
    code: 'OPERATOR_FAILED', message: /closed before CONNACK/
  })
  server.close()
  await once(server, 'close')
  await t.rejects(reachGateway({
    url, protocolVersion: 4, runId: 'test', logins: NO_LOGINS, device: 'a'
  }), { message: /^cannot connect to mqtt:\/\/127\.0\.0\.1:\d+: connect ECONNREFUSED/ })

  const broker = await startBroker(t, {
    authenticate: (_client, _username, _password, callback) => { callback(Object.assign(new Error('no'), { returnCode: 4 }), false) }
  })
  await t.rejects(reachGateway({
    url: broker.url, protocolVersion: 4, runId: 'test', logins: NO_LOGINS, device: 'a'
  }), { message: /: Connection refused: Bad username or password\n.*give --credentials/i })
})
