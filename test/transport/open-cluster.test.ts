/** Gateways on one PostgreSQL and one Redis, with configurations of operators. */
import { readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import t from 'tap'
import { createConfig } from '../../src/config/config.ts'
import { publishPacket, RawClient } from '../helpers/broker.ts'
import { openCredentials } from '../helpers/credentials.ts'
import { connectClient, startGateway } from '../helpers/gateway.ts'
import { spawnGateway } from '../helpers/gateway-process.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { NO_REDIS, startRedis } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'

interface Health { readonly status: string, readonly warnings: readonly string[] }

const ROOT = resolve(import.meta.dirname, '../..')

const reading = (timestamp: number) => JSON.stringify({ timestamp, heartRateValue: 80 })
const healthOf = async (httpUrl: string) => await (await fetch(`${httpUrl}/health/ready`)).json() as Health
const metricOf = async (httpUrl: string, name: string) => {
  const text = await (await fetch(`${httpUrl}/metrics`)).text()
  return Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1])
}

t.test('two gateways act as one: readings reach subscribers of both, erasing reaches both, and Redis ' +
  'may go away', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const { connectionString } = await createTestDatabase(t)
  const variables = { DATABASE_URL: connectionString, REDIS_URL: redis.url }
  const [a, b] = [await startGateway(t, variables), await startGateway(t, variables)]
  const operator = await connectClient(t, b.mqttPort)
  const seen: string[] = []
  operator.on('message', (topic) => { seen.push(topic) })
  await operator.subscribeAsync('vital/#', { qos: 1 })
  const device = await connectClient(t, a.mqttPort)
  await device.publishAsync('vital/band-1', reading(1_700_000_000), { qos: 1, retain: true })
  await fetch(`${a.httpUrl}/vital-data`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ device: 'scale-1', timestamp: 1_700_000_000 })
  })
  await device.publishAsync('vital/band-1', 'no json', { qos: 1 })
  await until(() => seen.length >= 3)
  t.strictSame(seen.sort(), ['vital/band-1', 'vital/band-1/rejected', 'vital/scale-1'])
  await until(async () => await metricOf(b.httpUrl, 'vital_cluster_messages_received_total') >= 3)
  t.equal(await metricOf(a.httpUrl, 'vital_cluster_gateways'), 2)

  const erased = await fetch(`${b.httpUrl}/vital-data/band-1`, { method: 'DELETE' })
  t.equal(erased.status, 200)
  await until(async () => await redis.client.hlen('vital:retained') === 0)

  await redis.kill()
  await device.publishAsync('vital/band-2', reading(1_700_000_001), { qos: 1 })
  await until(async () => await metricOf(a.httpUrl, 'vital_redis_up') === 0)
  const health = await healthOf(a.httpUrl)
  t.equal(health.status, 'ready')
  t.match(health.warnings.join(), /Redis has not answered/)
})

t.test('a 202 waits until Redis has the reading for a session, and does not wait without a subscriber', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const { connectionString } = await createTestDatabase(t)
  const gateway = await startGateway(t, { DATABASE_URL: connectionString, REDIS_URL: redis.url })
  const nurse = await connectClient(t, gateway.mqttPort, { clientId: 'nurse', clean: false })
  await nurse.subscribeAsync('vital/watched', { qos: 1 })
  const post = (device: string) => fetch(`${gateway.httpUrl}/vital-data`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ device, timestamp: 1_700_000_000 })
  })
  redis.freeze()
  let isAnswered = false
  const watched = post('watched').finally(() => { isAnswered = true })
  t.equal((await post('unwatched')).status, 202)
  await until(async () => (await fetch(`${gateway.httpUrl}/vital-data/watched`)).status === 200)
  t.notOk(isAnswered, 'stored, but not yet answered')
  redis.thaw()
  t.equal((await watched).status, 202)
})

t.test('connections of a revoked principal are closed at both gateways', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const { connectionString } = await createTestDatabase(t)
  const variables = { DATABASE_URL: connectionString, REDIS_URL: redis.url }
  const gateways = [await startGateway(t, variables), await startGateway(t, variables)]
  const credentials = openCredentials(t, connectionString)
  const password = await credentials.add('nurse', 'operator')
  await until(async () => (await fetch(`${gateways[1]!.httpUrl}/vital-data`)).status === 401)
  const clients = await Promise.all(gateways.map(({ mqttPort }, index) =>
    connectClient(t, mqttPort, { username: 'nurse', password, clientId: `nurse-${index}` })))
  await credentials.revoke('nurse')
  await until(() => clients.every(({ connected }) => !connected))
})

t.test('a device keeps its session when its gateway is killed', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const { connectionString } = await createTestDatabase(t)
  const variables = { DATABASE_URL: connectionString, REDIS_URL: redis.url }
  const b = await startGateway(t, variables)
  const a = await spawnGateway(t, variables)
  const { port } = await a.said(/^listening$/)
  await a.said(/^ready$/)
  const options = { clientId: 'band-1', clean: false }
  const first = await RawClient.connected(t, port!, options)
  await first.subscribe({ 'home/#': 1 })
  t.match(await redis.client.hget('vital:client:band-1', 'm'), 'home/#', 'written before SUBACK')
  a.child.kill('SIGKILL')
  await first.closed()
  const publisher = await RawClient.connected(t, b.mqttPort)
  publisher.send(publishPacket(1, { topic: 'home/x', payload: 'meanwhile' }))
  await publisher.waitFor('puback')
  const back = await RawClient.connected(t, b.mqttPort, options)
  publisher.send(publishPacket(2, { topic: 'home/x', payload: 'afterwards' }))
  await back.waitFor('publish', 2)
  t.strictSame(back.messages(), ['home/x meanwhile', 'home/x afterwards'])
})

t.test('the will of a device whose gateway is killed is stored, and none of a device that is ' +
  'revoked meanwhile', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const { connectionString, query } = await createTestDatabase(t)
  const variables = { DATABASE_URL: connectionString, REDIS_URL: redis.url }
  const credentials = openCredentials(t, connectionString)
  const secrets = { 'band-1': await credentials.add('band-1', 'device'), 'band-2': await credentials.add('band-2', 'device') }
  const password = await credentials.add('nurse', 'operator')
  const b = await startGateway(t, variables)
  const a = await spawnGateway(t, variables)
  await a.said(/^ready$/)
  const { port } = await a.said(/^listening$/)
  const operator = await connectClient(t, b.mqttPort, { username: 'nurse', password, clientId: 'nurse' })
  const seen: string[] = []
  operator.on('message', (topic, payload) => { seen.push(`${topic} ${payload.toString()}`) })
  await operator.subscribeAsync('vital/#', { qos: 1 })
  for (const [id, secret] of Object.entries(secrets)) {
    const will = { topic: `vital/${id}`, payload: Buffer.from(reading(1_700_000_000)), qos: 1, retain: false } as const
    await RawClient.connected(t, port!, { clientId: id, username: id, password: Buffer.from(secret), will })
    t.match(await redis.client.hget(`vital:client:${id}`, 'w'), new RegExp(`vital/${id}`))
    t.notMatch(JSON.stringify(await redis.client.hgetall(`vital:client:${id}`)), secret)
  }
  a.child.kill('SIGKILL')
  await a.exited
  await credentials.revoke('band-2')
  await until(() => seen.length > 0)
  await until(async () => await redis.client.scard('vital:gateways') === 1, 'the dead gateway is adopted')
  t.strictSame(seen, [`vital/band-1 ${reading(1_700_000_000)}`])
  t.strictSame((await query<{ device: string }>('select device from readings')).map(({ device }) => device), ['band-1'])
})

t.test('an invalid REDIS_URL stops the start, and its password is not shown', (t) => {
  for (const url of ['127.0.0.1:6379', 'http://gateway:s3cret@redis', 'redis://']) {
    t.throws(() => createConfig({ REDIS_URL: url }), /REDIS_URL must be a URL such as/, url)
    try { createConfig({ REDIS_URL: url }) } catch (error) { t.notMatch((error as Error).message, /s3cret/) }
  }
  t.equal(createConfig({ REDIS_URL: 'rediss://u:p@redis:6380/1' }).redisUrl, 'rediss://u:p@redis:6380/1')
  t.equal(createConfig({}).redisUrl, null)
  t.end()
})

t.test('without Redis and Kafka none of their modules are loaded: they are imported only by import()', (t) => {
  const seen = new Set<string>()
  const visit = (path: string): void => {
    if (seen.has(path)) return
    seen.add(path)
    const text = readFileSync(join(ROOT, path), 'utf8')
    for (const [, from] of text.matchAll(/^(?:import|export) (?!type )[^';=]*?(?:from )?'([^']+)'$/gm)) {
      if (!from!.startsWith('.')) seen.add(from!)
      else if (from!.endsWith('.ts')) visit(join(dirname(path), from!))
    }
  }
  visit('src/serve.ts')
  t.ok(seen.has('broker/broker.ts') && seen.has('aedes'), 'the broker is found')
  const isApart = (path: string) => ['ioredis', '@platformatic/kafka'].includes(path) || /^(?:broker\/cluster|src\/sink)\//.test(path)
  t.strictSame([...seen].filter(isApart), [])
  t.end()
})
