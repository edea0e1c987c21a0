/** Erasing a device at one of two gateways on a database: readings that either acknowledged are erased and stay erased. */
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'mqtt'
import t from 'tap'
import { createDatabaseSwitch } from '../helpers/database-switch.ts'
import { countsOf, drained, erase, leaveSpool, publish, spawnDoomed, states } from '../helpers/erasures.ts'
import { exactly } from '../helpers/exactly.ts'
import { connectClient, readLedger, startGateway, type TestGateway } from '../helpers/gateway.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { NO_REDIS, startRedis } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'

t.test('both gateways live, one with a spool: all readings that either acknowledged are erased', { timeout: 90_000 }, async (t) => {
  const database = await createDatabaseSwitch(t)
  const variables = { DATABASE_URL: database.connectionString }
  const dirs = [await createTestDir(t), await createTestDir(t)]
  const start = () => Promise.all(dirs.map((dir) => startGateway(t, { ...variables, VITAL_DATA_DIR: dir })))
  let [one, two] = await start() as [TestGateway, TestGateway]
  await publish(t, one.mqttPort, 100)
  await publish(t, two.mqttPort, 200)
  await database.off()
  await publish(t, two.mqttPort, 300)
  await database.on()
  let answer = await erase(one.httpUrl)
  for (let tries = 0; answer.status === 503 && tries < 50; tries++) {
    await sleep(200)
    answer = await erase(one.httpUrl)
  }
  t.equal(answer.status, 200, JSON.stringify(answer))
  t.strictSame(states(answer), ['confirmed', 'confirmed'])
  t.match(answer.remains, exactly({ where: 'backups' }))
  await Promise.all([one, two].map(drained))
  t.strictSame(await countsOf(database.query), { b: 15 })
  t.strictSame(await database.query("select from dead_letters where device = 'a'"), [])
  t.match(await readLedger(two.httpUrl), { balance: 0 })
  await publish(t, two.mqttPort, 400)
  t.strictSame(await countsOf(database.query), { a: 5, b: 20 }, 'later readings of the device are kept')
  for (const gateway of [one, two]) await gateway.stop()
  ;[one, two] = await start() as [TestGateway, TestGateway]
  await Promise.all([one, two].map(drained))
  t.strictSame(await countsOf(database.query), { a: 5, b: 20 }, 'also after a restart of both')
})

t.test('a gateway killed with a spool is named, and drops the readings at its start; later ones stay', { timeout: 90_000 }, async (t) => {
  const database = await createDatabaseSwitch(t)
  const variables = { DATABASE_URL: database.connectionString, VITAL_DATA_DIR: await createTestDir(t) }
  await leaveSpool(t, database, variables)
  const living = await startGateway(t, { DATABASE_URL: database.connectionString })
  const answer = await erase(living.httpUrl)
  t.match(answer, { status: 200, readings: 5 })
  t.strictSame(states(answer), ['away', 'confirmed'])
  t.match(answer.remains, exactly(
    { where: /^spool, retained and queued messages of vital-gateway /, until: /its next start, before it replays/ }, { where: 'backups' }
  ))
  await publish(t, living.mqttPort, 300)
  const again = await startGateway(t, variables)
  await drained(again)
  t.strictSame(await countsOf(database.query), { a: 5, b: 15 }, 'the newer readings of the device, and all of the other')
  const { received, stored, refused, balance } = await readLedger(again.httpUrl)
  t.strictSame({ received, stored, refused, balance }, { received: 11, stored: 5, refused: 6, balance: 0 },
    'five readings and a dead letter were left out, and are counted as such')
  t.match(await (await fetch(`${again.httpUrl}/metrics`)).text(), /^vital_readings_refused_total\{transport="spool",reason="erased"\} 6$/m)
  t.strictSame(states(await erase(living.httpUrl, 'b')), ['confirmed', 'confirmed'])
})

t.test('a frozen gateway does not delay an erasure: it is named, and writes nothing older ' +
  'when it wakes', { timeout: 120_000 }, async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const asked = await startGateway(t, { DATABASE_URL: connectionString })
  const frozen = await spawnDoomed(t, { DATABASE_URL: connectionString })
  await publish(t, frozen.mqttPort, 100)
  const client = await connectClient(t, frozen.mqttPort)
  frozen.child.kill('SIGSTOP')
  await sleep(100)
  // The publish stays in the socket until the gateway wakes.
  const late = client.publishAsync('vital/a', '{"timestamp":999,"heartRateValue":61}', { qos: 1 })
  const answer = await erase(asked.httpUrl)
  t.equal(answer.status, 200)
  t.ok(states(answer).includes('silent'), JSON.stringify(answer.gateways))
  t.match(answer.remains, exactly({ until: /it answers again, before it writes anything/ }, {}))
  t.strictSame(await countsOf(query), { b: 5 })
  frozen.child.kill('SIGCONT')
  await late
  await until(async () => states(await erase(asked.httpUrl, 'nobody')).join() === 'confirmed,confirmed', 'it to see the request', 30_000)
  t.strictSame(await countsOf(query), { b: 5 }, 'readings from before it had read the request are not stored')
})

t.test('with Redis: retained and queued messages of all gateways go, and those of a dead one with its adoption', {
  skip: NO_REDIS, timeout: 90_000
}, async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const redis = await startRedis(t)
  const variables = { DATABASE_URL: connectionString, REDIS_URL: redis.url }
  const [one, two] = [await startGateway(t, variables), await startGateway(t, variables)]
  const dead = await spawnDoomed(t, variables)
  for (const [index, port] of [one.mqttPort, two.mqttPort, dead.mqttPort].entries()) {
    const nurse = await connectClient(t, port, { clientId: `nurse-${index}`, clean: false })
    await nurse.subscribeAsync('vital/+', { qos: 1 })
    await nurse.endAsync()
  }
  const client = await connectClient(t, two.mqttPort)
  await client.publishAsync('vital/a', '{"timestamp":1,"heartRateValue":61}', { qos: 1, retain: true })
  await client.publishAsync('vital/b', '{"timestamp":1,"heartRateValue":61}', { qos: 1, retain: true })
  await sleep(300)
  dead.child.kill('SIGKILL')
  await dead.exited
  const answer = await erase(one.httpUrl)
  t.match(answer, { status: 200, readings: 1, retained: 1 })
  t.ok(answer.remains.some(({ where }) => where === 'the append-only file of Redis'))
  t.strictSame(await countsOf(query), { b: 1 })
  await until(async () => {
    const keys = await redis.client.keys('vital:client:nurse-*')
    const values = await Promise.all(keys.map(async (key) => JSON.stringify(await redis.client.hgetall(key))))
    return keys.length === 3 && values.every((value) => !value.includes('vital/a'))
  }, 'no session in Redis to have a message of the device', 20_000)
  t.strictSame(await redis.client.hkeys('vital:retained'), ['vital/b'])
  for (const n of [0, 1, 2]) {
    const heard: string[] = []
    const nurse = connect({ host: '127.0.0.1', port: one.mqttPort, clientId: `nurse-${n}`, clean: false })
    t.teardown(() => nurse.endAsync(true))
    nurse.on('message', (topic) => { heard.push(topic) })
    await until(() => heard.length > 0, `nurse-${n} hears of the other device`)
    t.strictSame(heard, ['vital/b'])
  }
})
