/** Erasing a device with records in Kafka, on one database, and on others that read the same log. */
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { ERASURE_SCHEMA } from '../../src/kafka/erasure-record.ts'
import { LETTERS_TOPIC, READINGS_TOPIC } from '../../src/kafka/records.ts'
import { runCommandLine } from '../helpers/command-line.ts'
import { countsOf, erase } from '../helpers/erasures.ts'
import { startGateway } from '../helpers/gateway.ts'
import { spawnGateway } from '../helpers/gateway-process.ts'
import { isOnKafkaNode, readTopic } from '../helpers/kafka.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'
import { isStored, MOVED, publishTimes, timesOf, toJournal } from './erasing.ts'
import { createSinkRig, startSink, toLetter, toRow, toRows } from './rig.ts'

if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)

  t.test('waiting records in the partition of a device, in its former one and in dead letters are left out; later ' +
    'ones are kept', async (t) => {
    await rig.makeAnew(3)
    const { connectionString, query } = await createTestDatabase(t)
    await rig.writeReadings([...[1, 2, 3].map((time) => toRow(MOVED, time)), ...[1, 2, 3].map((time) => toRow('other', time))])
    await rig.writeLetters([toLetter(MOVED), toLetter('other')])
    await rig.grow(6)
    await rig.writeReadings([toRow(MOVED, 4), toRow('other', 4)])
    // The key of the dead letter is its client, so it is in the partition of the client.
    await rig.writeLetters([{ ...toLetter('other'), device: null, payload: Buffer.from(`{"device":"${MOVED}"`) }])
    const gateway = await startGateway(t, toJournal(rig, connectionString))
    const answer = await erase(gateway.httpUrl, MOVED)
    t.equal(answer.status, 200, JSON.stringify(answer))
    t.match(answer.remains, [{ where: 'Kafka', until: /topics trim/ }, { where: 'backups' }])
    await publishTimes(t, gateway.mqttPort, MOVED, [5])
    for (const topic of [READINGS_TOPIC, LETTERS_TOPIC]) {
      const found = (await readTopic(t, rig.kafka, topic)).filter(({ headers }) =>
        [...headers].some(([name, value]) => name.toString() === 'schema' && value.toString() === ERASURE_SCHEMA))
      t.same(found.map(({ partition }) => partition).sort(), [0, 1, 2, 3, 4, 5], `a marker in each partition of ${topic}`)
    }
    const sink = await startSink(t, rig, connectionString)
    await until(async () => await isStored(rig, query))
    await until(async () => (await sink.metrics())('vital_readings_received_total') === 12)
    t.same(await timesOf(query, MOVED), [5])
    t.same(await timesOf(query, 'other'), [1, 2, 3, 4])
    await until(async () => (await query('select 1 from dead_letters')).length === 1)
    t.match(await query('select device from dead_letters'), [{ device: 'other' }])
    t.match(await query('select extract(epoch from time)::int as time, device from ' +
      'latest order by 2'), [MOVED, 'other'].sort().map((device) =>
      ({ device, time: device === 'other' ? 4 : 5 })))
    const metric = await sink.metrics()
    t.equal(metric('vital_readings_refused_total{transport="kafka",reason="erased"}'), 6)
    t.equal(metric('vital_readings_stored_total'), 5)
    t.equal(metric('vital_readings_dead_lettered_total'), 1)
    t.equal(metric('vital_readings_pending'), 0)

    await t.test('another group on the database reads the log from its beginning, and stores nothing of the device', async (t) => {
      await startSink(t, rig, connectionString, { variables: { VITAL_SINK_GROUP: 'again' } })
      await until(async () => await isStored(rig, query, 'again'))
      t.same([await timesOf(query, MOVED), await timesOf(query, 'other')], [[5], [1, 2, 3, 4]])
    })

    await t.test('a database without the erasure, such as a restored older backup, learns of it from the markers', async (t) => {
      const restored = await createTestDatabase(t)
      await restored.query(`insert into readings values ('${MOVED}', now() - interval '1 year', gen_random_uuid(), '{}', now())`)
      await startSink(t, rig, restored.connectionString, { variables: { VITAL_SINK_GROUP: 'restored' } })
      await until(async () => await isStored(rig, restored.query, 'restored'), 'all markers to be passed')
      await until(async () => (await restored.query('select from log_erasures where cleared_at is null')).length === 0)
      t.same([await timesOf(restored.query, MOVED), await timesOf(restored.query, 'other')], [[5], [1, 2, 3, 4]])
      t.match(await restored.query("select actor from audit_log where act = 'erase'"), [{ actor: 'an erasure in Kafka' }])
    })

    await t.test('erased again, with nothing in the log', async (t) => {
      t.match(await erase(gateway.httpUrl, MOVED), { status: 200, readings: 1 })
      await publishTimes(t, gateway.mqttPort, MOVED, [6])
      await until(async () => (await timesOf(query, MOVED)).length > 0)
      t.same(await timesOf(query, MOVED), [6])
    })

    await t.test('in place of a stopped gateway, including the readings in its spool', async (t) => {
      const variables = { ...toJournal(rig, connectionString), VITAL_DATA_DIR: await createTestDir(t) }
      const stopped = await spawnGateway(t, variables)
      const { port } = await stopped.said(/^listening$/)
      rig.kafka.freeze()
      await publishTimes(t, port!, MOVED, [8])
      stopped.child.kill('SIGKILL')
      await stopped.exited
      rig.kafka.thaw()
      t.match(await runCommandLine(['erase', '--device', MOVED, '--yes'], variables), { status: 0, stderr: /no gateway runs on/ })
      await until(async () => await isStored(rig, query))
      t.same(await timesOf(query, MOVED), [])
    })
  })

  t.test('while two sinks drain a backlog and one is killed: no reading older than the erasure is stored', async (t) => {
    await rig.makeAnew(6)
    const { connectionString, query } = await createTestDatabase(t)
    await query('create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.05); return null; end $$')
    await query('create trigger slow after insert on readings for each statement execute function slow()')
    const variables = { DATABASE_URL: connectionString, KAFKA_BROKERS: rig.kafka.brokers, VITAL_BATCH_READINGS_MAX: '100' }
    const killed = await spawnGateway(t, variables, { program: 'src/sink-main.ts' })
    await startSink(t, rig, connectionString, { variables: { VITAL_BATCH_READINGS_MAX: '100' } })
    const owners = async () => (await query('select distinct owner from sink_offsets')).length
    await until(async () => await owners() === 2, 'both sinks to have partitions')
    const rows = toRows(6000, { devices: 60 })
    for (let at = 0; at < rows.length; at += 1000) await rig.writeReadings(rows.slice(at, at + 1000))
    const gateway = await startGateway(t, toJournal(rig, connectionString))
    await until(async () => (await query('select 1 from readings')).length > 500)
    const erasing = ['d1', 'd2', 'd3'].map((device) => erase(gateway.httpUrl, device))
    await sleep(50)
    killed.child.kill('SIGKILL')
    for (const answer of await Promise.all(erasing)) t.equal(answer.status, 200, JSON.stringify(answer))
    for (const device of ['d1', 'd2', 'd3']) await publishTimes(t, gateway.mqttPort, device, [7])
    await until(async () => await isStored(rig, query), 'all records to be read', 60_000)
    for (const device of ['d1', 'd2', 'd3']) t.same(await timesOf(query, device), [7])
    const counts = await countsOf(query)
    t.equal(Object.keys(counts).length, 60)
    t.same(new Set(Object.entries(counts).filter(([device]) => !/^d[123]$/.test(device)).map(([, count]) => count)), new Set([100]))
  })
}
