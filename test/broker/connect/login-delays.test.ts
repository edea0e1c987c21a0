import t from 'tap'
import type { Credentials } from '../../../broker/connect/credentials.ts'
import { GrowingDelay } from '../../../broker/connect/growing-delay.ts'
import { RawClient, settleDown, startBroker } from '../../helpers/broker.ts'
import { exactly } from '../../helpers/exactly.ts'
import { authenticateByName, login, NOT_SLOWED } from '../../helpers/principals.ts'
import { until } from '../../helpers/until.ts'

const NO_CONNACK = -1
const NOT_AUTHORIZED = 5
const HOUR_MS = 3_600_000

t.test('each failure is delayed twice as long as the one before, up to a bound, until its key is forgotten', async (t) => {
  const delay = new GrowingDelay({ freeMax: 2, delayMs: 100, delayMsMax: 500, forgetMs: 1000, keysMax: 3 })
  t.strictSame(Array.from({ length: 7 }, () => delay.add('a', 0)), [0, 0, 100, 200, 400, 500, 500])
  t.equal(delay.add('b', 0), 0, 'another key')
  t.equal(delay.add('a', 1000), 500)
  t.equal(delay.add('a', 2001), 0, 'forgotten')
  delay.add('b', 0)
  delay.add('b', 0)
  delay.reset('b')
  t.equal(delay.add('b', 0), 0)
  for (let key = 0; key < 100; key++) delay.add(`key-${key}`, 0)
  t.equal(delay.size, 3)
})

const slow = { freeMax: 1, delayMs: HOUR_MS, delayMsMax: HOUR_MS, forgetMs: HOUR_MS, keysMax: 100 }

for (const [what, limits] of [['name', { failedLoginsOfName: slow }], ['address', { failedLoginsOfAddress: slow }]] as const) {
  t.test(`refusals of one ${what} are held back, and right credentials of the same are not`, async (t) => {
    const { port, broker, log } = await startBroker(t, { limits: { ...NOT_SLOWED, ...limits }, authenticate: authenticateByName })
    const wrong = { ...login('band'), password: Buffer.from('a guess') }
    const guesser = await RawClient.open(t, port)
    t.equal((await guesser.connect(wrong)).returnCode, NOT_AUTHORIZED)
    const guessers = await Promise.all(Array.from({ length: 5 }, () => RawClient.open(t, port)))
    for (const client of guessers) {
      client.send({
        cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, keepalive: 0, ...wrong
      })
    }
    await settleDown()
    t.ok(guessers.every(({ packets, isClosed }) => packets.length === 0 && !isClosed), 'no answer')
    await RawClient.connected(t, port, login('band'))
    const { loginsFailed, limitHits } = broker.statistics()
    t.strictSame([loginsFailed, limitHits.get('failed_logins')], [6, 5])
    t.equal(log.filter(({ msg }) => msg === 'login refused').length, 1, 'logged now and then')
    t.notMatch(JSON.stringify(log), 'a guess')
  })
}

t.test('a refused takeover looks and costs like a wrong password', async (t) => {
  const { port, broker } = await startBroker(t, { limits: { ...NOT_SLOWED, failedLoginsOfName: slow }, authenticate: authenticateByName })
  await RawClient.connected(t, port, login('band'))
  const first = await RawClient.open(t, port)
  t.equal((await first.connect(login('operator:nurse', 'band'))).returnCode, NOT_AUTHORIZED)
  t.match(broker.statistics(), { loginsFailed: 1, takeovers: 0 })
})

t.test('two clients that share an id are slowed', async (t) => {
  const { port, broker, log } = await startBroker(t, {
    limits: { takeoversOfClientId: { ...slow, freeMax: 2 } }, authenticate: authenticateByName
  })
  const clients = [
    await RawClient.connected(t, port, login('band')), await RawClient.connected(t, port, login('band')),
    await RawClient.connected(t, port, login('band'))
  ]
  const third = await RawClient.open(t, port)
  third.send({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, keepalive: 0, ...login('band') })
  await settleDown()
  t.strictSame(third.packets, [])
  t.notOk(clients[2]!.isClosed, 'the connected one stays meanwhile')
  await RawClient.connected(t, port, login('other'))
  t.match(log.filter(({ level }) => level === 40), exactly({ msg: /taken over again and again/, clientId: 'band' }))
  t.equal(broker.statistics().limitHits.get('takeovers'), 1)
  t.equal(broker.statistics().takeovers, 3)
})

t.test('a login ends when its client leaves', async (t) => {
  const asked: Credentials[] = []
  const { port, broker } = await startBroker(t, {
    limits: { ...NOT_SLOWED, failedLoginsOfName: { ...slow, freeMax: 0 } },
    authenticate: (credentials) => {
      asked.push(credentials)
      return credentials.username === 'slow'
        ? new Promise(() => {})
        : authenticateByName({ ...credentials, password: Buffer.from('wrong') })
    }
  })
  const clients = await Promise.all(['slow', 'refused'].map(async (name) => {
    const client = await RawClient.open(t, port)
    client.send({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, keepalive: 0, ...login(name) })
    return client
  }))
  await until(() => asked.length === 2 && broker.statistics().limitHits.get('failed_logins') === 1, 'both to wait')
  t.strictSame(asked.map(({ isOver }) => isOver), [false, false])
  for (const { socket } of clients) socket.destroy()
  await until(() => asked.every(({ isOver }) => isOver), 'both to be over')
  t.equal(broker.statistics().limitHits.get('authentication_time'), 0)
})

t.test('a login that does not end is closed without a CONNACK', async (t) => {
  let hangs = true
  const { port, broker } = await startBroker(t, {
    limits: { authenticationTimeoutMs: 100 },
    authenticate: (credentials) => hangs ? new Promise(() => {}) : authenticateByName(credentials)
  })
  const codes = await Promise.all(Array.from({ length: 5 }, async () => {
    const client = await RawClient.open(t, port)
    return (await client.connect(login('band'))).returnCode
  }))
  t.strictSame(codes, Array(5).fill(NO_CONNACK))
  t.equal(broker.statistics().limitHits.get('authentication_time'), 5)
  hangs = false
  await RawClient.connected(t, port, login('band'))
})
