import t from 'tap'
import { describeMetrics } from '../../src/metrics/describe.ts'
import { createDatabaseSwitch } from '../helpers/database-switch.ts'
import { NO_MOSQUITTO, startMosquitto } from '../helpers/mosquitto.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'
import { connectDevice, startBridge, toReading } from './rig.ts'

const TOPIC = { VITAL_BRIDGE_TOPIC: 'ward/monitor/{device}' }

t.test('against Mosquitto', { skip: NO_MOSQUITTO }, async (t) => {
  const broker = await startMosquitto(t)

  t.test('each message of the broker is stored once, and bad input becomes dead letters', async (t) => {
    const { connectionString, query } = await createTestDatabase(t)
    const bridge = await startBridge(t, {
      ...TOPIC, DATABASE_URL: connectionString, VITAL_BRIDGE_URL: broker.url, VITAL_BRIDGE_GROUP: 'first', VITAL_PACKET_BYTES_MAX: '2048'
    })
    t.ok(await bridge.isReady())
    const device = await connectDevice(t, broker.url)
    const send = (id: string, payload: string, qos: 0 | 1 | 2 = 1) => device.publishAsync(`ward/monitor/${id}`, payload, { qos })
    for (let index = 0; index < 50; index++) await send(`m${index % 5}`, toReading(1_750_000_000 + index))
    await send('m0', toReading(1_750_000_000))
    await send('m1', JSON.stringify([{ timestamp: 1, spo2Value: 97 }, { timestamp: 2, spo2Value: null }]))
    await send('m2', '{')
    await send('m3', toReading(3, { device: 'other' }))
    await send('constructor', toReading(4))
    await send('m4', `${toReading(5)}${' '.repeat(5000)}`)
    await send('m4', toReading(6, { note: 'x'.repeat(5000) }), 2)
    await send('m4', toReading(7), 0)
    await device.publishAsync('ward/m0', toReading(8), { qos: 1 })
    await until(async () => await bridge.metric('vital_bridge_held_messages') === 0 &&
      await bridge.metric('vital_readings_received_total') === 59 && await bridge.metric('vital_readings_pending') === 0)
    t.same(await query('select count(*)::int as readings, count(distinct device)::int as devices from readings'),
      [{ readings: 53, devices: 5 }])
    const letters = await query('select topic, device, reason, errors->0->>\'message\' as error, client_id from dead_letters ' +
      'order by topic, reason')
    t.match(letters, [
      {
        topic: 'ward/monitor/constructor',
        device: null,
        reason: 'invalid_topic',
        error: 'the topic must be ward/monitor/{device}, with a valid device id',
        client_id: /^vital-bridge-[0-9a-f]{16}$/
      },
      { topic: 'ward/monitor/m1', device: 'm1', reason: 'invalid_reading' },
      { topic: 'ward/monitor/m2', device: 'm2', reason: 'invalid_json' },
      { topic: 'ward/monitor/m3', device: 'm3', reason: 'device_mismatch' },
      { topic: 'ward/monitor/m4', device: 'm4', reason: 'invalid_json' }
    ])
    const outcomes = ['stored', 'duplicate', 'dead_lettered', 'refused']
    t.same(await Promise.all(outcomes.map((name) => bridge.metric(`vital_readings_${name}_total`))), [53, 1, 5, 0])
    t.equal(await bridge.metric('vital_bridge_acknowledged_total'), 57)
    t.equal(await bridge.metric('vital_bridge_messages_total{qos="0"}'), 1)
    t.equal(await bridge.metric('vital_bridge_cut_total'), 2)
    t.match((await bridge.health()).warnings.filter((warning) => warning.startsWith('messages')),
      [/^messages come on topics that/, /^messages come that are larger/, /^messages come at QoS 0/])
    const described = describeMetrics().registry.getMetricsAsArray().map(({ name }) => name)
      .filter((name) => name.startsWith('vital_bridge_'))
    const exposition = await (await fetch(`${bridge.url}/metrics`)).text()
    t.same([...exposition.matchAll(/^# TYPE (vital_bridge_\w+)/gm)].map(([, name]) => name).sort(), described.sort())
    t.equal((await fetch(`${bridge.url}/vital-data`)).status, 404, 'it answers no reads')
  })

  t.test('PostgreSQL is away: messages go to the spool, and the broker is answered', async (t) => {
    const database = await createDatabaseSwitch(t)
    const bridge = await startBridge(t, {
      DATABASE_URL: database.connectionString, VITAL_BRIDGE_URL: broker.url, VITAL_BRIDGE_GROUP: 'second', VITAL_COMMIT_TIMEOUT_MS: '200'
    })
    const device = await connectDevice(t, broker.url)
    await database.off()
    for (let index = 0; index < 100; index++) await device.publishAsync('vital/away', toReading(1_750_000_000 + index), { qos: 1 })
    await until(async () => await bridge.metric('vital_bridge_acknowledged_total') === 100)
    t.equal(await bridge.metric('vital_database_up'), 0)
    t.ok(await bridge.isReady(), 'a message is still acknowledged')
    await database.on()
    await until(async () => (await database.query('select from readings')).length === 100, 'the spool is replayed')
  })

  t.test('a restart resumes the session, and unsubscribes from a filter that is no longer configured', async (t) => {
    const { connectionString, query } = await createTestDatabase(t)
    const variables = {
      DATABASE_URL: connectionString, VITAL_BRIDGE_URL: broker.url, VITAL_BRIDGE_GROUP: 'third', VITAL_DATA_DIR: await createTestDir(t)
    }
    const first = await startBridge(t, { ...variables, ...TOPIC })
    await first.bridge.stop()
    const device = await connectDevice(t, broker.url)
    await device.publishAsync('ward/monitor/m1', toReading(1), { qos: 1 })
    const second = await startBridge(t, { ...variables, VITAL_BRIDGE_TOPIC: 'bed/{device}' })
    await until(async () => (await query('select from dead_letters where reason = \'invalid_topic\'')).length === 1, 'nothing is lost')
    t.notOk(second.said(/did not keep the session/))
    await device.publishAsync('ward/monitor/m1', toReading(2), { qos: 1 })
    await device.publishAsync('bed/m2', toReading(2), { qos: 1 })
    await until(async () => (await query('select from readings where device = \'m2\'')).length === 1)
    t.equal(await second.metric('vital_bridge_messages_total'), 2, 'the broker no longer has the earlier filter')
    await second.bridge.stop()
    const third = await startBridge(t, { ...variables, VITAL_BRIDGE_CLIENT_ID: 'another' })
    t.match((await third.health()).warnings,
      [/^client id vital-bridge-[0-9a-f]{16} has a session at 127\.0\.0\.1:\d+ that is not resumed/])
  })
})
