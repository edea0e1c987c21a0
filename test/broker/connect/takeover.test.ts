/** A client id, with its connection, session and queue, belongs to one principal. */
import t from 'tap'
import type { Principal } from '../../../schemas/principal.ts'
import type { RawClient } from '../../helpers/broker.ts'
import { durable, publishPacket, settleDown, startBroker, type TestBroker, VERSIONS } from '../../helpers/broker.ts'
import { authenticateByName, login, NOT_SLOWED } from '../../helpers/principals.ts'
import { until } from '../../helpers/until.ts'

const NO_CONNACK = -1

type Test = Parameters<typeof startBroker>[0]

const leave = async ({ broker }: TestBroker, client: RawClient) => {
  const { clientsConnected } = broker.statistics()
  client.socket.destroy()
  await until(() => broker.statistics().clientsConnected === clientsConnected - 1, 'the client to go')
}

for (const { clients, suffix, protocolVersion } of VERSIONS) {
  const [code, NOT_AUTHORIZED] = protocolVersion === 5 ? ['reasonCode', 0x87] as const : ['returnCode', 5] as const

  /** An absent session of an operator under a client id, with one message in its queue. */
  async function leaveSession (t: Test, test: TestBroker, username: string, clientId: string) {
    const operator = await clients.connected(t, test.port, { ...login(username, clientId), clean: false })
    await operator.subscribe({ 'vital/#': 1 })
    await leave(test, operator)
    test.broker.publish({ topic: 'vital/other', payload: Buffer.from('private'), qos: 1 })
    await until(() => test.broker.statistics().queuedMessages === 1, 'the queue')
  }

  t.test(`another principal can neither take over a connection nor resume a session${suffix}`, async (t) => {
    const test = await startBroker(t, { limits: NOT_SLOWED, authenticate: authenticateByName, answer: durable })
    await leaveSession(t, test, 'operator:nurse', 'desk')
    const band = await clients.connected(t, test.port, login('band'))
    for (const [username, clientId] of [
      ['operator:doctor', 'desk'], ['admin:root', 'desk'], ['operator:nurse', 'band'], ['admin:root', 'band'], ['other', 'band']
    ] as const) {
      for (const clean of [true, false]) {
        const client = await clients.open(t, test.port)
        t.match(await client.connect({ ...login(username, clientId), clean }), { [code]: NOT_AUTHORIZED, sessionPresent: false },
        `${username} as ${clientId}`)
      }
    }
    band.send(publishPacket(1, { topic: 'vital/band' }))
    await band.waitFor('puback')
    t.notOk(band.isClosed, 'the victim stays connected')
    const nurse = await clients.open(t, test.port)
    t.match(await nurse.connect({ ...login('operator:nurse', 'desk'), clean: false }), { [code]: 0, sessionPresent: true })
    await nurse.waitFor('publish', 2)
    t.strictSame(nurse.messages(), ['vital/other private', 'vital/band m1'], 'and its session is complete')
  })

  t.test(`the same principal resumes and takes over${suffix}`, async (t) => {
    const test = await startBroker(t, { limits: NOT_SLOWED, authenticate: authenticateByName, answer: durable })
    const first = await clients.connected(t, test.port, { ...login('band'), clean: false })
    await first.subscribe({ 'vital/band/rejected': 1 })
    const second = await clients.open(t, test.port)
    t.match(await second.connect({ ...login('band'), clean: false }), { [code]: 0, sessionPresent: true })
    await first.closed()
    test.broker.publish({ topic: 'vital/band/rejected', payload: Buffer.from('why'), qos: 1 })
    await second.waitFor('publish')
  })

  t.test(`a device gets the client id that is its own, and nothing of its holder${suffix}`, async (t) => {
    for (const isConnected of [false, true]) {
      const test = await startBroker(t, { limits: NOT_SLOWED, authenticate: authenticateByName, answer: durable })
      await leaveSession(t, test, 'operator:nurse', 'band')
      const nurse = isConnected ? await clients.connected(t, test.port, { ...login('operator:nurse', 'band'), clean: false }) : null
      const device = await clients.open(t, test.port)
      t.match(await device.connect({ ...login('band'), clean: false }), { [code]: 0, sessionPresent: false })
      await nurse?.closed()
      test.broker.publish({ topic: 'vital/other', payload: Buffer.from('more'), qos: 1 })
      await settleDown()
      t.strictSame(device.messages(), [])
      t.match(test.broker.statistics(), { sessions: 0, queuedMessages: 0, queuedBytes: 0, subscriptions: 0, clientsConnected: 1 })
      const nurseAgain = await clients.open(t, test.port)
      t.equal((await nurseAgain.connect({ ...login('operator:nurse', 'band'), clean: false }))[code], NOT_AUTHORIZED)
    }
  })

  t.test(`of two principals that ask for one client id at once, one gets it${suffix}`, async (t) => {
    const test = await startBroker(t, { limits: NOT_SLOWED, authenticate: authenticateByName })
    for (let round = 0; round < 20; round++) {
      const asking = await Promise.all(Array.from({ length: 6 }, () => clients.open(t, test.port)))
      const codes = await Promise.all(asking.map(async (client, index) => {
        const how = { ...login(`operator:nurse-${index % 3}`, `desk-${round}`), clean: index % 2 === 0 }
        const { [code]: answer } = await client.connect(how)
        return { answer, index }
      }))
      await settleDown()
      const open = codes.filter(({ index }) => !asking[index]!.isClosed)
      t.equal(open.length, 1)
      const owner = open[0]!.index % 3
      t.ok(codes.every(({ answer, index }) => index % 3 === owner || answer === NOT_AUTHORIZED), 'no other principal was let in')
      t.equal(test.broker.statistics().clientsConnected, round + 1)
    }
  })

  t.test(`sessions from the open mode are discarded, packet ids included${suffix}`, async (t) => {
    let isOpen = true
    const test = await startBroker(t, {
      authenticate: (credentials) => isOpen ? { status: 'accepted', principal: null } : authenticateByName(credentials)
    })
    const { port, ingest, broker } = test
    const anonymous = await clients.connected(t, port, { clientId: 'band', clean: false })
    await anonymous.subscribe({ '#': 1 })
    anonymous.send(publishPacket(1, { topic: 'vital/band', qos: 2 }), publishPacket(2, { topic: 'vital/band', qos: 2 }))
    await until(() => ingest.held.length === 2, 'the publishes')
    ingest.held.shift()!.settle(durable(ingest.seen[0]!))
    await anonymous.waitFor('pubrec')
    isOpen = false
    broker.disconnect((principal) => principal === null)
    await anonymous.closed()
    const nurse = await clients.connected(t, port, login('operator:nurse'))
    await nurse.subscribe({ 'vital/#': 2 })
    const device = await clients.open(t, port)
    t.match(await device.connect({ ...login('band'), clean: false }), { [code]: 0, sessionPresent: false })
    ingest.settleAll()
    await nurse.waitFor('publish')
    device.send(publishPacket(1, {
      topic: 'vital/band', qos: 2, payload: 'new'
    }), publishPacket(2, { topic: 'vital/band', qos: 2, payload: 'newer' }))
    await until(() => ingest.held.length === 2, 'its own')
    ingest.settleAll()
    await nurse.waitFor('publish', 3)
    t.strictSame(nurse.messages(), ['vital/band m2', 'vital/band new', 'vital/band newer'], 'its messages do not count as duplicates')
    t.strictSame(device.messages(), [])
  })

  t.test(`a principal that loses its role loses subscriptions and queue${suffix}`, async (t) => {
    let role: Principal['role'] = 'operator'
    const test = await startBroker(t, {
      authenticate: (credentials) => authenticateByName(credentials).status === 'accepted'
        ? { status: 'accepted', principal: { id: 'band', role } }
        : { status: 'refused', reason: 'wrong_secret' }
    })
    await leaveSession(t, test, 'band', 'band')
    test.broker.publish({ topic: 'vital/band/rejected', payload: Buffer.from('why'), qos: 1 })
    role = 'device'
    const device = await clients.connected(t, test.port, { ...login('band'), clean: false })
    await device.waitFor('publish')
    test.broker.publish({ topic: 'vital/other', payload: Buffer.from('more'), qos: 1 })
    await settleDown()
    t.strictSame(device.messages(), ['vital/band/rejected why'])
    t.match(test.broker.statistics(), { sessions: 0, subscriptions: 0 })
  })

  t.test(`disconnect closes the principals it names, also during authentication, without their wills${suffix}`, async (t) => {
    const waiting: Array<() => void> = []
    const test = await startBroker(t, {
      answer: durable,
      authenticate: async (credentials) => {
        if (credentials.username === 'slow') await new Promise<void>((resolve) => { waiting.push(resolve) })
        return authenticateByName(credentials)
      }
    })
    const { port, broker, ingest } = test
    const will = { topic: 'vital/band', payload: Buffer.from('will'), qos: 0, retain: false } as const
    const band = await clients.connected(t, port, { ...login('band'), will })
    const other = await clients.connected(t, port, login('other'))
    const slow = await clients.open(t, port)
    const connack = slow.connect(login('slow'))
    await until(() => waiting.length === 1, 'the slow one')
    broker.disconnect((principal) => principal !== null && ['band', 'slow'].includes(principal.id))
    await band.closed()
    for (const resolve of waiting) resolve()
    t.equal((await connack).returnCode, NO_CONNACK, 'it may connect again')
    await settleDown()
    t.notOk(other.isClosed)
    t.strictSame(ingest.seen, [])
    await clients.connected(t, port, { ...login('band'), will })
  })

  t.test(`a connection ends when its credentials expire${suffix}`, async (t) => {
    let expiresAtMs = 0
    const { port } = await startBroker(t, {
      authenticate: ({ username }) => {
        if (expiresAtMs === 0) expiresAtMs = Date.now() + 1000
        return { status: 'accepted', principal: { id: username!, role: 'device' }, ...(username === 'short' ? { expiresAtMs } : {}) }
      }
    })
    const short = await clients.connected(t, port, login('short'))
    const long = await clients.connected(t, port, login('long'))
    await short.closed()
    t.ok(Date.now() >= expiresAtMs)
    t.notOk(long.isClosed)
    const again = await clients.open(t, port)
    t.equal((await again.connect(login('short')))[code], NOT_AUTHORIZED, 'expired credentials are refused')
  })
}
