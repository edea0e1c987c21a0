/** Readings that sinks refuse are announced by gateways: one real broker, real gateways, MQTT.js and Redis. */
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { REJECTIONS_TOPIC, toOutgoing } from '../../src/kafka/records.ts'
import { openEvents } from '../helpers/events.ts'
import { connectClient, startGateway } from '../helpers/gateway.ts'
import { isOnKafkaNode, readTopic } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { NO_REDIS, startRedis } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'
import { createSinkRig, startSink, toRow } from './rig.ts'

/** Longer than a read of a topic waits, so that a duplicate would have come. */
const QUIET_MS = 1500

interface Announced {
  readonly topic: string
  readonly rejection: { readonly reason: string, readonly errors: ReadonlyArray<{ readonly message: string }>, readonly receivedAt: number }
}

/** The messages of a subscriber of all rejections. */
async function subscribe (t: Test, port: number, clientId: string): Promise<Announced[]> {
  const client = await connectClient(t, port, { clientId })
  const announced: Announced[] = []
  client.on('message', (topic, payload) => {
    announced.push({ topic, rejection: JSON.parse(payload.toString()) as Announced['rejection'] })
  })
  await client.subscribeAsync('vital/+/rejected', { qos: 1 })
  return announced
}

if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)
  const journal = { VITAL_JOURNAL: 'kafka', KAFKA_BROKERS: rig.kafka.brokers, VITAL_KAFKA_ALLOW_WEAK: 'true' }

  /** A database that refuses readings with `wonder`, and a sink into it. */
  async function start (t: Test) {
    await rig.makeAnew()
    const { connectionString, query } = await createTestDatabase(t)
    const variables = { ...journal, DATABASE_URL: connectionString }
    const sink = await startSink(t, rig, connectionString)
    await query('alter table readings add constraint no_wonders check (not vitals ? \'wonder\')')
    return { variables, query, sink }
  }

  /** @returns once it is acknowledged */
  async function publishWonder (t: Test, port: number, device: string): Promise<void> {
    const client = await connectClient(t, port, { clientId: `${device} ${Math.random()}` })
    await client.publishAsync(`vital/${device}`, JSON.stringify({ timestamp: Date.now() / 1000, wonder: 1 }), { qos: 1 })
    await client.endAsync(true)
  }

  t.test('without Redis each gateway tells its own subscribers, once, and its listeners', async (t) => {
    const { variables, query, sink } = await start(t)
    const [one, other] = [await startGateway(t, variables), await startGateway(t, variables)]
    const [here, there] = [await subscribe(t, one.mqttPort, 'here'), await subscribe(t, other.mqttPort, 'there')]
    const events = await openEvents(t, other.httpUrl, '/events?device=ward-3')
    // A gateway reads the topic from its end, which it finds some time after it is ready.
    await sleep(QUIET_MS)
    const sentAtS = Date.now() / 1000
    await publishWonder(t, one.mqttPort, 'ward-3')
    await until(() => here.length > 0 && there.length > 0, 'both subscribers to be told')
    await sleep(QUIET_MS)
    for (const announced of [here, there]) {
      t.match(announced, [{
        topic: 'vital/ward-3/rejected', rejection: { reason: 'database_rejected', errors: [{ message: /no_wonders/ }] }
      }])
      t.equal(announced.length, 1)
      t.ok(Math.abs(announced[0]!.rejection.receivedAt - sentAtS) < 5, 'the time at which a gateway got it')
    }
    t.same(events.of('rejected').map(({ data }) => data['deviceId']), ['ward-3'])
    t.match(await query('select device, reason from dead_letters'), [{ device: 'ward-3', reason: 'database_rejected' }])
    t.equal((await sink.metrics())('vital_sink_announcements_total{outcome="written"}'), 1)
  })

  t.test('a gateway announces rejections after its start, and no earlier ones', async (t) => {
    const { variables, query } = await start(t)
    await rig.writeReadings([toRow('early', 1, { wonder: 1 })])
    await until(async () => (await readTopic(t, rig.kafka, REJECTIONS_TOPIC)).some(({ key }) => key === 'early'))
    const { mqttPort } = await startGateway(t, variables)
    const announced = await subscribe(t, mqttPort, 'late')
    await sleep(QUIET_MS)
    // A foreign record whose key names a device is announced as well.
    await rig.write([toOutgoing('vital.readings', 'stranger', 'no reading', { transport: 'mqtt' })])
    await until(() => announced.length > 0)
    await sleep(QUIET_MS)
    t.match(announced, [{ topic: 'vital/stranger/rejected', rejection: { reason: 'invalid_reading' } }])
    t.equal(announced.length, 1)
    t.equal((await query('select 1 from dead_letters')).length, 2)
  })

  t.test('without the topic readings are stored, and refused ones are dead letters; once it exists they are announced', async (t) => {
    const { variables, query, sink } = await start(t)
    await rig.admin.deleteTopics({ topics: [REJECTIONS_TOPIC] })
    await until(async () => !(await rig.admin.listTopics()).includes(REJECTIONS_TOPIC))
    const { mqttPort, httpUrl } = await startGateway(t, variables)
    const { warnings } = await (await fetch(`${httpUrl}/health/ready`)).json() as { warnings: string[] }
    t.match(warnings.join('\n'), 'Kafka: the topic vital.rejections does not exist, so rejections of sinks are not announced: run ' +
      'vital-gateway topics make')
    const announced = await subscribe(t, mqttPort, 'subscriber')
    await publishWonder(t, mqttPort, 'ward-3')
    await until(async () => (await query('select 1 from dead_letters')).length === 1)
    await until(async () => (await sink.metrics())('vital_sink_announcements_total{outcome="dropped"}') === 1, 'it to be given up', 20_000)
    t.ok(sink.said(/^rejections are not announced; the dead letters are stored$/))
    t.same(announced, [])
    await rig.grow(6)
    await publishWonder(t, mqttPort, 'ward-4')
    await until(() => announced.length > 0, 'the rejection to be announced', 30_000)
    t.match(announced, [{ topic: 'vital/ward-4/rejected' }])
  })

  t.test('gateways with one Redis publish it once, and each to its own subscribers while Redis is away', { skip: NO_REDIS }, async (t) => {
    const redis = await startRedis(t)
    const { variables } = await start(t)
    const shared = { ...variables, REDIS_URL: redis.url }
    const [one, other] = [await startGateway(t, shared), await startGateway(t, shared)]
    const [here, there] = [await subscribe(t, one.mqttPort, 'here'), await subscribe(t, other.mqttPort, 'there')]
    await sleep(QUIET_MS)
    await publishWonder(t, one.mqttPort, 'ward-3')
    await until(() => here.length > 0 && there.length > 0, 'both subscribers to be told')
    await sleep(QUIET_MS)
    t.same([here.length, there.length], [1, 1])
    await redis.kill()
    await publishWonder(t, other.mqttPort, 'ward-4')
    await until(() => here.length > 1 && there.length > 1, 'both subscribers to be told again')
    await sleep(QUIET_MS)
    t.same([here, there].map((announced) => announced.map(({ topic }) => topic)),
      Array(2).fill(['vital/ward-3/rejected', 'vital/ward-4/rejected']))
  })
}
