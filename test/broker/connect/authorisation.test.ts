/** Every row of the role table, over TCP. */
import t from 'tap'
import { claimOf, maySubscribe } from '../../../broker/connect/authorisation.ts'
import { durable, publishPacket, RawClient, settleDown, startBroker, type TestBroker } from '../../helpers/broker.ts'
import { exactly } from '../../helpers/exactly.ts'
import { authenticateByName, login, NOT_SLOWED } from '../../helpers/principals.ts'
import { until } from '../../helpers/until.ts'

const NOT_AUTHORIZED = 5
const REFUSED = 128

const start = (t: Parameters<typeof startBroker>[0]) => startBroker(t, {
  limits: NOT_SLOWED, authenticate: authenticateByName, answer: durable
})
const join = (
  t: Parameters<typeof startBroker>[0], { port }: TestBroker, username: string,
  options: Parameters<RawClient['connect']>[0] = {}
) => RawClient.connected(t, port, { ...login(username), ...options })

t.test('a device publishes on its own topic only', async (t) => {
  const test = await start(t)
  const operator = await join(t, test, 'operator:nurse')
  await operator.subscribe({ '#': 1, '$SYS/broker/clients/connected': 0 })
  for (const topic of [
    'vital/other', 'vital/band/rejected', 'vital/band/', 'vital/Band', 'vital', 'band', 'chat', '$SYS/broker/uptime', '$SYS/x/new/clients',
    'vital/__proto__'
  ]) {
    const device = await join(t, test, 'band')
    device.send(publishPacket(1, { topic, retain: true }), publishPacket(2, { topic: 'vital/band' }))
    await device.closed()
    t.strictSame(device.ids('puback'), [], topic)
  }
  t.strictSame(test.ingest.seen, [])
  const device = await join(t, test, 'band')
  device.send(publishPacket(1, { topic: 'vital/band' }), publishPacket(2, { topic: 'vital/band', retain: true, payload: '' }))
  await device.waitFor('puback', 2)
  t.match(test.ingest.seen, exactly({ device: 'band', clientId: 'band' }))
  await operator.waitFor('publish', 2)
  await settleDown()
  t.strictSame(operator.messages().filter((message) => !message.startsWith('$SYS/')), ['vital/band m1', 'vital/band '])
})

t.test('publishes before one that is not allowed are acknowledged, packets behind it are ignored', async (t) => {
  const { port, ingest, broker, log } = await startBroker(t, { limits: NOT_SLOWED, authenticate: authenticateByName })
  const device = await RawClient.connected(t, port, login('band'))
  const own = (messageId: number, qos: 0 | 1 | 2 = 1) => publishPacket(messageId, { topic: 'vital/band', qos })
  device.send(own(1), own(2, 2), publishPacket(3, {
    topic: 'vital/other', payload: 'private'
  }), own(4), publishPacket(5, { topic: 'vital/third' }))
  await until(() => ingest.held.length === 2, 'two publishes')
  await settleDown()
  t.notOk(device.isClosed)
  ingest.settleAll()
  await device.closed()
  t.strictSame([device.ids('puback'), device.ids('pubrec')], [[1], [2]])
  t.equal(ingest.seen.length, 2)
  t.equal(broker.statistics().publishesForbidden, 1)
  t.match(log.filter(({ level }) => Number(level) >= 40), exactly({ msg: /topic that is not its own/, clientId: 'band' }))
  t.notMatch(JSON.stringify(log), 'private')
  const again = await RawClient.connected(t, port, login('band'))
  again.send(publishPacket(6, { topic: 'vital/other', qos: 0 }))
  await again.closed()
  t.equal(ingest.seen.length, 2, 'QoS 0 as well')
})

t.test('a device subscribes to its own rejections only', async (t) => {
  const test = await start(t)
  const device = await join(t, test, 'band', { clean: false })
  const others = ['#', '+', 'vital/#', 'vital/+', 'vital/+/rejected', 'vital/band', 'vital/band/#', 'vital/band/+',
    'vital/other/rejected', '+/band/rejected', '$SYS/#', '$SYS/broker/clients/connected', 'vital/band/rejected/#', 'chat']
  for (const filter of others) t.strictSame(await device.subscribe({ [filter]: 1 }), [REFUSED], filter)
  t.strictSame(await device.subscribe({ 'vital/other/rejected': 1, 'vital/band/rejected': 1, '#': 0 }), [REFUSED, 1, REFUSED])
  for (const id of ['band', 'other']) test.broker.publish({ topic: `vital/${id}/rejected`, payload: Buffer.from(id), qos: 1 })
  await device.waitFor('publish')
  await settleDown()
  t.strictSame(device.messages(), ['vital/band/rejected band'])
  t.equal(test.broker.statistics().subscriptions, 1)
})

t.test('a connected device cannot be distinguished from one that does not exist', async (t) => {
  const test = await start(t)
  await join(t, test, 'there')
  const answers = []
  for (const [username, clientId] of [
    ['band', 'there'], ['band', 'missing'], ['band', ''], ['wrong:there', 'there'], ['wrong:x', 'missing']
  ] as const) {
    const client = await RawClient.open(t, test.port)
    const { returnCode, sessionPresent } = await client.connect(login(username, clientId))
    answers.push({ returnCode, sessionPresent })
    await client.closed()
  }
  for (const answer of answers) t.strictSame(answer, { returnCode: NOT_AUTHORIZED, sessionPresent: false })
  t.match(test.broker.statistics(), { clientsConnected: 1 })
})

t.test('a will is held to the same rules as a publish', async (t) => {
  const test = await start(t)
  const operator = await join(t, test, 'operator:nurse')
  await operator.subscribe({ '#': 1 })
  const answer = async (username: string, topic: string) => {
    const client = await RawClient.open(t, test.port)
    return {
      client,
      returnCode: (await client.connect({
        ...login(username), will: { topic, payload: Buffer.from('{}'), qos: 1, retain: false }
      })).returnCode
    }
  }
  for (const [username, topic] of [[
    'band', 'vital/other'
  ], ['band', 'vital/band/rejected'], ['band', 'chat'], ['operator:nurse-2', 'vital/nurse-2'],
  ['operator:nurse-2', 'chat'], ['admin:root', 'vital/band'], ['application:app', 'vital/app']] as const) {
    t.equal((await answer(username, topic)).returnCode, NOT_AUTHORIZED, `${username} ${topic}`)
  }
  const { client, returnCode } = await answer('band', 'vital/band')
  t.equal(returnCode, 0)
  client.socket.destroy()
  await operator.waitFor('publish')
  t.strictSame(operator.messages(), ['vital/band {}'])
})

t.test('operators and admins subscribe to everything and publish nothing', async (t) => {
  const test = await start(t)
  const device = await join(t, test, 'band')
  for (const username of ['operator:nurse', 'admin:root']) {
    const client = await join(t, test, username)
    t.strictSame(await client.subscribe({ '#': 2, 'vital/+/rejected': 1, '$SYS/#': 0 }), [2, 1, 0], username)
    device.send(publishPacket(1, { topic: 'vital/band' }))
    await until(() => client.messages().includes('vital/band m1'), 'the reading')
    await until(() => client.messages().some((message) => message.startsWith('$SYS/broker/')), 'statistics')
    for (const topic of ['vital/band', 'vital/nurse', 'vital/root', 'chat', '$SYS/broker/uptime']) {
      const publisher = await join(t, test, username, { clientId: 'publisher' })
      publisher.send(publishPacket(1, { topic }))
      await publisher.closed()
      t.strictSame(publisher.ids('puback'), [], `${username} ${topic}`)
    }
  }
  t.equal(test.ingest.seen.length, 2, 'the device alone')
})

t.test('an application is refused over MQTT, and so is a principal whose id would widen its topic', async (t) => {
  const test = await start(t)
  for (const username of ['application:app', '+', '#', 'a/b', '$SYS', '__proto__', 'x'.repeat(129), 'operator:+', 'a\nb']) {
    const client = await RawClient.open(t, test.port)
    t.equal((await client.connect(login(username, username.replace(/^\w+:/, '')))).returnCode, NOT_AUTHORIZED, username)
  }
})

t.test('the open mode allows everything, and a device named __proto__ does no harm', async (t) => {
  const { port, ingest } = await startBroker(t, { authenticate: () => ({ status: 'accepted', principal: null }), answer: durable })
  const client = await RawClient.connected(t, port, {
    clientId: '__proto__', clean: false, will: { topic: 'vital/w', payload: Buffer.from('w'), qos: 0, retain: false }
  })
  t.strictSame(await client.subscribe({ '#': 1, '__proto__/constructor': 1 }), [1, 1])
  client.send(publishPacket(1, { topic: '__proto__/constructor' }), publishPacket(2, { topic: 'vital/anyone' }),
    publishPacket(3, { topic: 'vital/__proto__' }))
  await client.waitFor('puback', 3)
  t.strictSame(ingest.seen.map(({ device }) => device), ['anyone', null])
  await client.waitFor('publish', 3)
  const again = await RawClient.open(t, port)
  t.ok((await again.connect({ clientId: '__proto__', clean: false })).sessionPresent)
  t.equal(({} as Record<string, unknown>)['0'], undefined)
})

t.test('claims and subscriptions, as functions', async (t) => {
  const device = { id: 'band', role: 'device' } as const
  const nurse = { id: 'nurse', role: 'operator' } as const
  t.equal(claimOf(device, device), 'resume')
  t.equal(claimOf({ id: 'band', role: 'operator' }, device), 'resume', 'the same principal in a new role')
  t.equal(claimOf(device, nurse), 'discard')
  t.equal(claimOf(nurse, device), 'refuse')
  t.equal(claimOf({ id: 'root', role: 'admin' }, nurse), 'refuse')
  t.equal(claimOf(null, null), 'resume')
  t.equal(claimOf(nurse, null), 'discard')
  t.equal(claimOf(null, device), 'discard')
  t.notOk(maySubscribe({ id: 'app', role: 'application' }, 'vital/app/rejected'))
})
