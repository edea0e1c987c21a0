/** The audit of a gateway that writes to Kafka, and of a sink, on one real broker. */
import t from 'tap'
import { connectClient, startGateway } from '../../../helpers/gateway.ts'
import { isOnKafkaNode } from '../../../helpers/kafka.ts'
import { runOperated } from '../../../helpers/operator.ts'
import { createTestDatabase } from '../../../helpers/postgres.ts'
import { until } from '../../../helpers/until.ts'
import { createSinkRig, startSink } from '../../../sink/rig.ts'

interface Report {
  readonly findings: ReadonlyArray<{ readonly subject: string, readonly status: string, readonly text: string }>
}

if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)

  t.test('gateway, log and sink balance; waiting records are explained, deleted ones are not', async (t) => {
    await rig.makeAnew(2)
    const { connectionString, query } = await createTestDatabase(t)
    const variables = {
      VITAL_JOURNAL: 'kafka', KAFKA_BROKERS: rig.kafka.brokers, VITAL_KAFKA_ALLOW_WEAK: 'true', DATABASE_URL: connectionString
    }
    const gateway = await startGateway(t, variables)
    const { sink, url } = await startSink(t, rig, connectionString)
    const client = await connectClient(t, gateway.mqttPort, { clientId: 'ward' })
    const publish = (from: number, count: number) => Promise.all(Array.from({ length: count }, (_, index) =>
      client.publishAsync(`vital/d${index % 7}`, JSON.stringify({ timestamp: from + index }), { qos: 1 })))
    const run = async (...args: readonly string[]) => {
      const { status, stdout } = await runOperated('audit', ['--json', '--url', gateway.httpUrl, ...args], variables)
      const { findings } = JSON.parse(stdout) as Report
      return { status, find: (start: string) => findings.find(({ subject }) => subject.startsWith(start))! }
    }
    const counted = async () => (await query('select (select count(*) from readings) + (select count(*) from dead_letters) as rows'))[0]

    await publish(1_750_000_000, 50)
    await client.publishAsync('vital/d1', 'no reading', { qos: 1 })
    await client.publishAsync('vital/d1', JSON.stringify({ timestamp: 1_750_000_001 }), { qos: 1 })
    await until(async () => Number((await counted())!['rows']) >= 51, 'the sink to store them')
    const balanced = await run('--url', url)
    t.equal(balanced.status, 0)
    t.match(balanced.find('vital.readings, vital-sink'), { status: 'ok', text: 'all of 2 partitions is stored' })
    t.match(balanced.find('vital.readings'), { status: 'explained', text: /replication factor is 1/ }, 'a weak topic is allowed')
    t.notMatch(balanced.find('readings and dead letters').status, 'wrong')
    t.match((await run()).find('readings and dead letters').status, /^(ok|explained)$/)

    await sink.stop()
    await publish(1_760_000_000, 40)
    const waiting = await run()
    t.match(waiting.find('vital.readings, vital-sink'), { status: 'explained', text: '40 records of 2 partitions wait in Kafka.' })
    t.match(waiting.find('readings and dead letters'), { status: 'explained', text: /40 records wait in Kafka/ })
    t.equal(waiting.status, 0)

    const ends = await rig.ends()
    await rig.admin.deleteRecords({
      topics: [{ name: 'vital.readings', partitions: ends.map((offset, partition) => ({ partition, offset: BigInt(offset) })) }]
    })
    const lost = await run()
    t.equal(lost.status, 1)
    t.match(lost.find('vital.readings, vital-sink'), {
      status: 'wrong', text: /^partition 0: \d+ records were deleted before they were stored; partition 1/
    })
  })

  t.test('without KAFKA_BROKERS a message says what to set', async (t) => {
    const { connectionString } = await createTestDatabase(t)
    const gateway = await startGateway(t, {
      VITAL_JOURNAL: 'kafka', KAFKA_BROKERS: rig.kafka.brokers, VITAL_KAFKA_ALLOW_WEAK: 'true', DATABASE_URL: connectionString
    })
    const client = await connectClient(t, gateway.mqttPort)
    await client.publishAsync('vital/d1', JSON.stringify({ timestamp: 1 }), { qos: 1 })
    const { status, stderr } = await runOperated('audit', ['--url', gateway.httpUrl], { DATABASE_URL: connectionString })
    t.equal(status, 1)
    t.match(stderr, 'there is no Kafka: set KAFKA_BROKERS')
  })
}
