/** A gateway whose journal is Kafka, on one real broker that is killed, frozen and started again. */
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { createConfig } from '../../src/config/config.ts'
import { createKafkaLog } from '../../src/kafka/kafka-log.ts'
import { readLetterRecord } from '../../src/kafka/letter-record.ts'
import { toReadingRecord } from '../../src/kafka/reading-record.ts'
import { toReadingRow } from '../../src/ingest/reading-row.ts'
import { runCommandLine } from '../helpers/command-line.ts'
import { exactly } from '../helpers/exactly.ts'
import { connectClient, readLedger, startGateway } from '../helpers/gateway.ts'
import { spawnGateway } from '../helpers/gateway-process.ts'
import { freePort } from '../helpers/free-port.ts'
import { isOnKafkaNode, readTopic, startKafka } from '../helpers/kafka.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'
import { findPort, range, readDevice } from './rig.ts'

/** The time after which a broker that hangs is noticed. */
const COMMIT_TIMEOUT_MS = '800'

interface Health {
  readonly status: string
  readonly database: { readonly status: string }
  readonly kafka: { readonly status: string, readonly circuit: string }
  readonly spool: { readonly readings: number }
  readonly warnings: readonly string[]
}

const readHealth = async (httpUrl: string) => await (await fetch(`${httpUrl}/health/ready`)).json() as Health

if (await isOnKafkaNode(t, import.meta.filename)) {
  const kafka = await startKafka(t)
  const journal = {
    VITAL_JOURNAL: 'kafka', KAFKA_BROKERS: kafka.brokers, VITAL_KAFKA_ALLOW_WEAK: 'true', VITAL_COMMIT_TIMEOUT_MS: COMMIT_TIMEOUT_MS
  }

  /** @returns once all are acknowledged */
  async function publish (t: Test, mqttPort: number, device: string, values: readonly number[]): Promise<void> {
    const client = await connectClient(t, mqttPort, { clientId: `${device}-${Math.random()}` })
    const timestamp = Date.now() / 1000
    await Promise.all(values.map((heartRateValue) =>
      client.publishAsync(`vital/${device}`, JSON.stringify({ timestamp, heartRateValue }), { qos: 1 })))
    await client.endAsync(true)
  }

  t.test('missing topics stop the start with a message, and so do weak ones unless they are allowed', async (t) => {
    const { connectionString } = await createTestDatabase(t)
    const strict = { ...journal, DATABASE_URL: connectionString, VITAL_KAFKA_ALLOW_WEAK: 'false' }
    await t.rejects(startGateway(t, strict), {
      code: 'VITAL_CONFIG_INVALID', message: /vital\.readings does not exist: run vital-gateway topics make/
    })
    const made = await runCommandLine(['topics', 'make', '--replicas', '1', '--partitions', '6'], journal)
    t.equal(made.status, 0)
    await t.rejects(startGateway(t, strict), { message: /replication factor is 1.*VITAL_KAFKA_ALLOW_WEAK=true/s })
    const { httpUrl } = await startGateway(t, { ...strict, VITAL_KAFKA_ALLOW_WEAK: 'true' })
    const { warnings } = await readHealth(httpUrl)
    t.equal(warnings.filter((warning) => warning.startsWith('Kafka: vital.')).length, 4, warnings.join('\n'))
    const metrics = await (await fetch(`${httpUrl}/metrics`)).text()
    t.match(metrics, /^vital_kafka_topic_faults 4$/m)
  })

  t.test('acknowledged readings are in the log, over MQTT and HTTP, and refused ones in the topic of dead letters', async (t) => {
    const { mqttPort, httpUrl } = await startGateway(t, journal)
    await publish(t, mqttPort, 'one', range(60, 20))
    const posted = await fetch(`${httpUrl}/vital-data`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify([{ device: 'two', timestamp: 1735689600, heartRateValue: 70 }])
    })
    t.equal(posted.status, 202)
    const client = await connectClient(t, mqttPort, { clientId: 'bad' })
    await client.publishAsync('vital/one', '{"timestamp":', { qos: 1 })
    t.same(await readDevice(t, kafka, 'one'), range(60, 20), 'twenty at once to one partition are twenty records')
    t.same(await readDevice(t, kafka, 'two'), [70])
    const letters = (await readTopic(t, kafka, 'vital.dead-letters')).map(readLetterRecord)
    const letter = { device: 'one', clientId: 'bad', reason: 'invalid_json', payload: Buffer.from('{"timestamp":') }
    t.match(letters, exactly({ kind: 'read', value: letter }))
    t.match(await readLedger(httpUrl), { received: 22, logged: 22, stored: 0, deadLettered: 0, refused: 0, pending: 0, balance: 0 })
    t.match(await readHealth(httpUrl), { status: 'ready', database: { status: 'up' }, kafka: { status: 'up', circuit: 'closed' } })
    t.match(await (await fetch(`${httpUrl}/metrics`)).text(), /^vital_kafka_records_total 22$/m)
  })

  t.test('a reading 22 h ahead, and the clock of the gateway 2 h ahead, delay no other reading', async (t) => {
    const gateway = await spawnGateway(t, {
      ...journal, DATABASE_URL: (await createTestDatabase(t)).connectionString
    }, { through: ['env', 'NODE_OPTIONS=--import=data:text/javascript,const%20now=Date.now;Date.now=()=>now()%2B7200000'] })
    const mqttPort = await findPort(gateway, 'mqtt')
    const client = await connectClient(t, mqttPort, { clientId: 'ahead' })
    const nowS = Date.now() / 1000
    await Promise.all([0, 22 * 3600].map((aheadS) =>
      client.publishAsync('vital/ahead', JSON.stringify({ timestamp: nowS + aheadS, heartRateValue: 60 }), { qos: 1 })))
    t.same(await readDevice(t, kafka, 'ahead'), [60, 60])
    t.ok(gateway.lines.some(({ msg }) => /clock is 7200 s ahead of PostgreSQL/.test(msg)), 'it is ahead')
    t.notOk(gateway.lines.some(({ msg }) => /circuit open/.test(msg)))
  })

  t.test('a killed broker loses no reading: the spool takes them, and empties into the log', async (t) => {
    const { mqttPort, httpUrl } = await startGateway(t, journal)
    await publish(t, mqttPort, 'killed', range(0, 10))
    const under = publish(t, mqttPort, 'killed', range(10, 200))
    await kafka.kill()
    await under
    await publish(t, mqttPort, 'killed', range(210, 10))
    t.match(await readHealth(httpUrl), { status: 'ready', kafka: { status: 'down' } })
    t.ok((await readLedger(httpUrl)).pending >= 10, 'some wait in the spool')
    await kafka.start()
    await until(async () => (await readLedger(httpUrl)).pending === 0, 'the spool is empty')
    t.match(await readLedger(httpUrl), { received: 220, logged: 220, refused: 0, balance: 0 })
    // A write without an answer may be in the log twice.
    t.same([...new Set(await readDevice(t, kafka, 'killed'))], range(0, 220))
    t.match(await readHealth(httpUrl), { kafka: { circuit: 'closed' }, spool: { readings: 0 } })
  })

  t.test('a broker that hangs delays readings by the commit time-out, and its connection is given up', async (t) => {
    const { mqttPort, httpUrl } = await startGateway(t, journal)
    kafka.freeze()
    await publish(t, mqttPort, 'frozen', range(0, 20))
    t.match(await readHealth(httpUrl), { status: 'ready', kafka: { status: 'down' } })
    kafka.thaw()
    await until(async () => (await readLedger(httpUrl)).pending === 0, 'the spool is empty')
    t.same([...new Set(await readDevice(t, kafka, 'frozen'))], range(0, 20))
  })

  t.test('VITAL_ACK_AFTER=spool: an acknowledgement waits only for the disk, and kill -9 loses nothing', async (t) => {
    const { connectionString } = await createTestDatabase(t)
    const dataDir = await createTestDir(t)
    const variables = { ...journal, VITAL_ACK_AFTER: 'spool', DATABASE_URL: connectionString, VITAL_DATA_DIR: dataDir }
    const first = await spawnGateway(t, variables)
    const mqttPort = await findPort(first, 'mqtt')
    await publish(t, mqttPort, 'spooled', range(0, 20))
    const metricsUrl = `http://127.0.0.1:${await findPort(first, 'http')}/metrics`
    const readMetrics = async () => await (await fetch(metricsUrl)).text()
    await until(async () => /^vital_spool_replayed_readings_total 20$/m.test(await readMetrics()), 'all readings to go over the disk')
    kafka.freeze()
    await publish(t, mqttPort, 'spooled', range(20, 20))
    first.child.kill('SIGKILL')
    await first.exited
    kafka.thaw()
    const { httpUrl } = await startGateway(t, variables)
    await until(async () => (await readLedger(httpUrl)).pending === 0, 'the spool is empty')
    t.same([...new Set(await readDevice(t, kafka, 'spooled'))], range(0, 40))
    t.match(await readLedger(httpUrl), { balance: 0, refused: 0 })
  })

  t.test('readings are taken without PostgreSQL, once the gateway knows its principals', async (t) => {
    const { connectionString } = await createTestDatabase(t)
    const dataDir = await createTestDir(t)
    const before = await startGateway(t, { ...journal, DATABASE_URL: connectionString, VITAL_DATA_DIR: dataDir })
    await before.stop()
    const away = `postgres://vital@127.0.0.1:${await freePort()}/vital`
    const { mqttPort, httpUrl } = await startGateway(t, { ...journal, DATABASE_URL: away, VITAL_DATA_DIR: dataDir })
    await publish(t, mqttPort, 'alone', range(0, 20))
    t.same(await readDevice(t, kafka, 'alone'), range(0, 20))
    t.match(await readHealth(httpUrl), { status: 'ready', database: { status: 'down' }, kafka: { circuit: 'closed' } })
    t.match(await readLedger(httpUrl), { logged: 20, pending: 0, balance: 0 })
    t.match(await (await fetch(`${httpUrl}/metrics`)).text(), /^vital_database_up 0$/m)
  })

  t.test('Kafka away at the start: the spool takes readings, and the topics are checked once it comes', async (t) => {
    await kafka.kill()
    const variables = {
      ...journal, DATABASE_URL: (await createTestDatabase(t)).connectionString, VITAL_DATA_DIR: await createTestDir(t)
    }
    const strict = await startGateway(t, { ...variables, VITAL_KAFKA_ALLOW_WEAK: 'false' })
    await publish(t, strict.mqttPort, 'early', range(0, 20))
    t.match(await readHealth(strict.httpUrl), { status: 'ready', kafka: { status: 'down' } })
    await kafka.start()
    await until(async () => (await readHealth(strict.httpUrl)).warnings.some((warning) => /replication factor is 1/.test(warning)))
    t.same(await readDevice(t, kafka, 'early'), [])
    const { kafka: { circuit }, spool } = await readHealth(strict.httpUrl)
    t.same([circuit, spool.readings], ['open', 20], 'the topics are too weak to take readings')
    await strict.stop()
    const { httpUrl } = await startGateway(t, variables)
    await until(async () => (await readLedger(httpUrl)).pending === 0, 'the spool is empty')
    t.same([...new Set(await readDevice(t, kafka, 'early'))], range(0, 20))
  })

  t.test('a write is refused completely when one of its partitions is refused', async (t) => {
    const log = await createKafkaLog({ kafka: createConfig(journal).kafka!, asked: 'this test', clientId: 'test', messageBytesMin: 1 })
    t.teardown(() => log.close())
    const row = toReadingRow({ timestamp: 1, heartRateValue: 1 }, 'part', 1)
    const record = toReadingRecord({ row, transport: 'mqtt', clientId: null })
    await log.append([record])
    const tooLarge = { ...record, partition: record.partition + 1, value: Buffer.alloc(9 * 1024 * 1024, 0x20) }
    await t.rejects(log.append([record, tooLarge]), { code: 'VITAL_KAFKA_REFUSED' })
    await t.rejects(log.append([record, { ...record, topic: 'vital.nowhere' }]), { code: 'VITAL_KAFKA_AWAY' })
    await log.append([record])
    // Without a bound a stop would wait for an answer that never comes.
    await Promise.race([log.close(), sleep(5000).then(() => { t.fail('close hangs') })])
  })
}
