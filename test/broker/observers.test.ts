/** What an observer is told of clients that connect and leave. */
import t, { type Test } from 'tap'
import type { BrokerOptions } from '../../broker/broker.ts'
import type { RawClient } from '../helpers/broker.ts'
import { publishPacket, startBroker, unavailable, VERSIONS } from '../helpers/broker.ts'
import { exactly } from '../helpers/exactly.ts'
import { authenticateByName, login, NOT_SLOWED } from '../helpers/principals.ts'
import { until } from '../helpers/until.ts'

async function start (t: Test, options: Partial<BrokerOptions> = {}) {
  const events: string[] = []
  const seen: object[] = []
  const test = await startBroker(t, {
    ...options,
    observers: [{
      connected (client) { events.push(`${client.clientId} connected`); seen.push(client) },
      disconnected (client, reason) { events.push(`${client.clientId} ${reason}`); seen.push(client) }
    }]
  })
  const left = async (clientId: string, reason: string) => {
    await until(() => events.some((event) => event.startsWith(clientId) && !event.endsWith(' connected')), `${clientId} to leave`)
    t.strictSame(events.filter((event) => event.startsWith(clientId)), [`${clientId} connected`, `${clientId} ${reason}`])
  }
  return { ...test, events, seen, left }
}

for (const { clients, suffix, protocolVersion } of VERSIONS) {
  const connect = (t: Test, { port }: { port: number }, clientId: string, keepalive = 0) => clients.connected(t, port, {
    clientId, keepalive
  })

  t.test(`an observer is told the client id, the principal and the origin${suffix}`, async (t) => {
    const test = await start(t, { authenticate: authenticateByName, limits: NOT_SLOWED })
    const refused = await clients.open(t, test.port)
    await refused.connect({ ...login('band'), password: Buffer.from('a guess') })
    const client = await clients.connected(t, test.port, login('band'))
    client.socket.destroy()
    await test.left('band', 'lost')
    const told = { clientId: 'band', principal: { id: 'band', role: 'device' }, origin: { transport: 'tcp', remoteAddress: '127.0.0.1' } }
    t.match(test.seen, exactly(told, told))
    t.equal(test.seen.length, 2, 'nothing of a refused login')
  })

  t.test(`an observer is told why a client left${suffix}`, async (t) => {
    const test = await start(t, { limits: { packetBytesMax: 1000, topicLengthMax: 20 } })
    const { ingest, left } = test
    const clients: Record<string, (client: RawClient) => void> = {
      disconnected: (client) => { client.send({ cmd: 'disconnect' }) },
      lost: (client) => { client.socket.resetAndDestroy() },
      malformed: (client) => { client.socket.write(Buffer.from([0x36, 0])) },
      limit: (client) => { client.send(publishPacket(1, { payload: 'x'.repeat(2000) })) },
      // In MQTT 5 the client is sent DISCONNECT first.
      not_allowed: (client) => { client.send(...Array.from({ length: 11 }, (_, n) => publishPacket(n + 1, { topic: '$SYS/x' }))) },
      unavailable: (client) => { client.send(publishPacket(1)) }
    }
    for (const [reason, leave] of Object.entries(clients)) {
      leave(await connect(t, test, `c-${reason}`))
      if (reason === 'unavailable') {
        await until(() => ingest.held.length === 1, 'the publish')
        ingest.settleAll(unavailable)
      }
      await left(`c-${reason}`, reason)
    }
    const long = await connect(t, test, 'long')
    long.send(publishPacket(1, { topic: 'x'.repeat(30) }))
    if (protocolVersion === 5) await long.waitFor('puback')
    else await left('long', 'limit')
    await connect(t, test, 'silent', 1)
    await left('silent', 'keepalive')
  })

  t.test(`an observer is told of a subscriber that does not read${suffix}`, async (t) => {
    const test = await start(t, { limits: { drainTimeoutMs: 200 } })
    const frozen = await connect(t, test, 'frozen')
    await frozen.subscribe({ '#': 1 })
    frozen.socket.pause()
    const pump = setInterval(() => {
      for (let count = 0; count < 20; count++) {
        test.broker.publish({
          topic: 'chat', payload: Buffer.alloc(100_000), qos: 1
        })
      }
    }, 10)
    t.teardown(() => { clearInterval(pump) })
    await test.left('frozen', 'drain_timeout')
  })

  t.test(`an observer is told of revocation, expiry and stop${suffix}`, async (t) => {
    const test = await start(t, {
      limits: NOT_SLOWED,
      authenticate: (credentials) => ({
        status: 'accepted',
        principal: {
          id: credentials.clientId, role: 'device'
        },
        ...(credentials.clientId === 'brief'
          ? { expiresAtMs: Date.now() + 300 }
          : {})
      })
    })
    await connect(t, test, 'gone')
    await connect(t, test, 'brief')
    await connect(t, test, 'last')
    test.broker.disconnect((principal) => principal?.id === 'gone')
    await test.left('gone', 'revoked')
    await test.left('brief', 'expired')
    await test.broker.stop()
    await test.left('last', 'stopping')
  })

  t.test(`at a takeover the observer is told first that the earlier connection has left${suffix}`, async (t) => {
    const test = await start(t)
    const first = await connect(t, test, 'band')
    await connect(t, test, 'band')
    await first.closed()
    t.strictSame(test.events, ['band connected', 'band taken_over', 'band connected'])
    t.equal(test.broker.statistics().clientsConnected, 1)
  })
}
