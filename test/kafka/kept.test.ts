/** VITAL_ACK_AFTER=spool, and a broker that loses the end of its log: records that it acknowledged are written again. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { cutLog, toLogDir } from '../../scripts/harness/kafka-log-files.ts'
import { runCommandLine } from '../helpers/command-line.ts'
import { connectClient, readLedger, startGateway } from '../helpers/gateway.ts'
import { spawnGateway } from '../helpers/gateway-process.ts'
import { isOnKafkaNode, readTopic, startKafka } from '../helpers/kafka.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'
import { findPort, range, readDevice } from './rig.ts'

/** A check every 5 s, with room for a busy machine. */
const CHECKED_MS = 40_000

if (await isOnKafkaNode(t, import.meta.filename)) {
  const kafka = await startKafka(t)
  const journal = { VITAL_JOURNAL: 'kafka', KAFKA_BROKERS: kafka.brokers, VITAL_KAFKA_ALLOW_WEAK: 'true', VITAL_ACK_AFTER: 'spool' }
  const logDir = toLogDir(kafka.dataDir, 'vital.readings', 0)

  /** Publishes several batches, each acknowledged. */
  async function publish (t: Test, mqttPort: number, device: string, values: readonly number[]): Promise<void> {
    const client = await connectClient(t, mqttPort, { clientId: `${device}-${Math.random()}` })
    for (const heartRateValue of values) {
      await client.publishAsync(`vital/${device}`, JSON.stringify({ timestamp: Date.now() / 1000, heartRateValue }), { qos: 1 })
    }
    await client.endAsync(true)
  }

  const readMetric = async (httpUrl: string, name: string) => {
    const text = await (await fetch(`${httpUrl}/metrics`)).text()
    return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])
  }
  const isReplayed = (httpUrl: string, count: number) => until(async () => {
    const { logged, pending } = await readLedger(httpUrl)
    return logged >= count && pending === 0
  }, 'all readings to be in Kafka')

  /** Loses records as a power failure does: this record, all later ones, and those of its batch. */
  async function loseFrom (t: Test, offset: number): Promise<void> {
    await kafka.kill()
    const cut = await cutLog(logDir, (batches) => batches.find(({ lastOffset }) => lastOffset >= offset)!.at + 20)
    t.ok(cut !== null && cut.firstLost <= offset, 'something was lost')
  }
  const readEnd = async () => (await readTopic(t, kafka, 'vital.readings')).length

  t.before(async () => {
    t.equal((await runCommandLine(['topics', 'make', '--replicas', '1', '--partitions', '1'], journal)).status, 0)
  })

  t.test('lost records are written again, also where others took their offsets; those of an erased device are not', async (t) => {
    const { mqttPort, httpUrl } = await startGateway(t, journal)
    await publish(t, mqttPort, 'erased', range(0, 20))
    await publish(t, mqttPort, 'lost', range(0, 30))
    await publish(t, mqttPort, 'erased', range(20, 10))
    await isReplayed(httpUrl, 60)
    const erased = await fetch(`${httpUrl}/vital-data/erased`, { method: 'DELETE' })
    t.equal(erased.status, 200, await erased.text())
    t.same(await readDevice(t, kafka, 'lost'), range(0, 30))
    await loseFrom(t, 35)
    await publish(t, mqttPort, 'lost', range(30, 40))
    // These records get the offsets of lost ones.
    await kafka.start()
    await until(async () => new Set(await readDevice(t, kafka, 'lost')).size === 70, 'all are in the log', CHECKED_MS)
    t.ok(await readMetric(httpUrl, 'vital_spool_written_again_readings_total') > 0)
    await isReplayed(httpUrl, 100)
    t.match(await readLedger(httpUrl), { balance: 0, pending: 0 })
    const left = await readDevice(t, kafka, 'erased')
    t.same(left, range(0, left.length), 'the readings that the log has kept, once')
    t.ok(left.length <= 20, `${left.length} are left, and lost records are not written again`)
  })

  t.test('a gateway that was killed meanwhile writes lost records again, too', async (t) => {
    const { connectionString } = await createTestDatabase(t)
    const variables = { ...journal, DATABASE_URL: connectionString, VITAL_DATA_DIR: await createTestDir(t) }
    const first = await spawnGateway(t, variables)
    await publish(t, await findPort(first, 'mqtt'), 'both', range(0, 40))
    const httpUrl = `http://127.0.0.1:${await findPort(first, 'http')}`
    await isReplayed(httpUrl, 40)
    await until(async () => await readMetric(httpUrl, 'vital_spool_kept_bytes') > 0, 'they are kept', CHECKED_MS)
    first.child.kill('SIGKILL')
    await first.exited
    await loseFrom(t, await readEnd() - 20)
    t.ok(new Set(await withBroker(() => readDevice(t, kafka, 'both'))).size < 40, 'Kafka has lost some')
    await startGateway(t, variables)
    await until(async () => new Set(await readDevice(t, kafka, 'both')).size === 40, 'all are in the log', CHECKED_MS)
  })

  t.test('nothing is written again to a broker that lost nothing; records that are old enough are removed', async (t) => {
    const dataDir = await createTestDir(t)
    const { mqttPort, httpUrl } = await startGateway(t, { ...journal, VITAL_DATA_DIR: dataDir, VITAL_SPOOL_KEEP_S: '15' })
    // The epochs of partitions are known once the gateway has asked for them.
    await until(async () => (await (await fetch(`${httpUrl}/health/ready`)).text()).includes('"circuit":"closed"'))
    await publish(t, mqttPort, 'whole', range(0, 20))
    await isReplayed(httpUrl, 20)
    await until(async () => await readMetric(httpUrl, 'vital_spool_kept_bytes') > 0, 'they are kept', CHECKED_MS)
    await kafka.kill()
    await kafka.start()
    await until(async () => await readMetric(httpUrl, 'vital_spool_kept_bytes') === 0, 'they are removed', CHECKED_MS)
    t.equal(await readMetric(httpUrl, 'vital_spool_written_again_readings_total'), 0)
    t.same(await readDevice(t, kafka, 'whole'), range(0, 20))
    t.same(await readdir(join(dataDir, 'spool', 'kept')), [])
  })

  t.test('a clock of PostgreSQL that is ahead does not make the time shorter', async (t) => {
    const { mqttPort, httpUrl } = await startGateway(t, journal, { nowMs: () => Date.now() + 3_600_000 })
    await publish(t, mqttPort, 'ahead', range(0, 10))
    await isReplayed(httpUrl, 10)
    await until(async () => await readMetric(httpUrl, 'vital_spool_kept_bytes') > 0, 'they are kept', CHECKED_MS)
    await new Promise((resolve) => { setTimeout(resolve, 12_000) })
    t.ok(await readMetric(httpUrl, 'vital_spool_kept_bytes') > 0, 'two checks later')
  })

  async function withBroker<T> (work: () => Promise<T>): Promise<T> {
    await kafka.start()
    return await work()
  }
}
