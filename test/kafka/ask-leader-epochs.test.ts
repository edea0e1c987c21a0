/** The leader epochs that a real broker answers when its log was truncated as by a power failure. */
import t from 'tap'
import { askLeaderEpochs } from '../../src/kafka/ask-leader-epochs.ts'
import { toClientOptions } from '../../src/kafka/connection.ts'
import { loadKafkaClient } from '../../src/kafka/load-client.ts'
import { READINGS_TOPIC } from '../../src/kafka/records.ts'
import { createConfig } from '../../src/config/config.ts'
import { cutLog, readLastSegment, toLogDir } from '../../scripts/harness/kafka-log-files.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { until } from '../helpers/until.ts'
import { createSinkRig, toRows } from '../sink/rig.ts'

if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)
  const { kafka } = rig
  await rig.makeAnew(1)
  const client = await loadKafkaClient('this test')
  const connection = await toClientOptions(createConfig({ KAFKA_BROKERS: kafka.brokers }).kafka!, 'test')
  const admin = new client.Admin(connection)
  t.teardown(() => admin.close())
  const logDir = toLogDir(kafka.dataDir, READINGS_TOPIC, 0)
  const write = async (count: number, from: number) => {
    const isWritten = () => rig.writeReadings(toRows(count, { from })).then(() => true, () => false)
    await until(isWritten, 'readings to be written')
  }
  const ask = async (leaderEpoch: number) => {
    const place = { topic: READINGS_TOPIC, partition: 0 }
    const [end] = await askLeaderEpochs({ client, admin, connection, requestTimeoutMs: 5000 }, [{ ...place, leaderEpoch }])
    return end === undefined ? null : [end.leaderEpoch, end.endOffset]
  }
  const epochs = async () => [...new Set((await readLastSegment(logDir)).batches.map(({ leaderEpoch }) => leaderEpoch))]
  const current = async () => {
    const { topics } = await admin.metadata({ topics: [READINGS_TOPIC], forceUpdate: true })
    return topics.get(READINGS_TOPIC)!.partitions[0]!.leaderEpoch
  }

  const restart = async (keep: Parameters<typeof cutLog>[1] | null) => {
    await kafka.kill()
    const cut = keep === null ? null : await cutLog(logDir, keep)
    await kafka.start()
    await until(async () => await ask(0) !== null, 'the partition to have a leader')
    return cut
  }

  t.test('a complete log has all records of an epoch, also under a later leader', async (t) => {
    for (let at = 0; at < 10; at++) await write(100, at * 100)
    t.same(await epochs(), [0])
    t.same(await ask(0), [0, 1000])
    t.same(await ask(1), [-1, -1], 'an epoch of the future')
    t.equal(await restart(null), null)
    t.ok(await current() > 0, 'a broker that was killed leads under a later epoch')
    t.same(await ask(0), [0, 1000])
  })

  t.test('a log that was truncated within a batch ends before it, also once it has grown again', async (t) => {
    const before = await current()
    t.same(await restart((batches) => batches.at(-1)!.at + 70), { firstLost: 900, end: 1000 })
    t.same(await ask(0), [0, 900])
    await write(300, 2000)
    t.same(await rig.ends(), [1200], 'it has the offset 1000 again')
    const after = await current()
    t.ok(after > before)
    t.same(await epochs(), [0, after])
    t.same([await ask(0), await ask(before), await ask(after)], [[0, 900], [0, 900], [after, 1200]])
  })

  t.test('an epoch all of whose records are lost has the end of the one before', async (t) => {
    const before = await current()
    t.same(await restart((batches) => batches[8]!.at), { firstLost: 800, end: 1200 }, 'cut between two batches')
    await write(600, 3000)
    t.same([await ask(0), await ask(before)], [[0, 800], [0, 800]])
  })

  t.test('many partitions are asked at once; a missing one is left out', async (t) => {
    await rig.grow(3)
    const asked = [2, 0, 7].map((partition) => ({ topic: READINGS_TOPIC, partition, leaderEpoch: 0 }))
    const ends = await askLeaderEpochs({ client, admin, connection, requestTimeoutMs: 5000 }, asked)
    t.same(ends.map(({ partition, endOffset }) => [partition, endOffset]), [[2, 0], [0, 800]])
    t.same(await askLeaderEpochs({ client, admin, connection, requestTimeoutMs: 5000 }, []), [])
    const unknown = [{ topic: 'none', partition: 0, leaderEpoch: 0 }]
    await t.rejects(askLeaderEpochs({ client, admin, connection, requestTimeoutMs: 5000 }, unknown))
  })
}
