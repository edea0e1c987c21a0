/**
 * MQTT.js gives up for good at a CONNACK that refuses (3, or 0x80 and above in MQTT 5), and comes back after a close without one. So
 * clients of both versions are held, or closed without a CONNACK, whenever they may be let in later.
 */
import { connect as connectMqtt, type IClientOptions } from 'mqtt'
import t, { type Test } from 'tap'
import type { Authentication, Credentials } from '../../../broker/connect/credentials.ts'
import { connectPacket, durable, publishPacket, RawClient, settleDown, startBroker } from '../../helpers/broker.ts'
import { exactly } from '../../helpers/exactly.ts'
import { authenticateByName, login, NOT_SLOWED } from '../../helpers/principals.ts'
import { until } from '../../helpers/until.ts'

const AWAY: Authentication = { status: 'unavailable' }

/** An `authenticate` that a test can make unavailable. */
function createSwitch () {
  const state = { isAway: true, asked: 0, isRetry: [] as boolean[] }
  const authenticate = (credentials: Credentials): Authentication => {
    state.asked++
    state.isRetry.push(credentials.isRetry)
    return state.isAway ? AWAY : authenticateByName(credentials)
  }
  return { state, authenticate }
}

/** MQTT.js as a device uses it: it comes back by itself, unless it has given up. */
function startMqttJs (t: Test, port: number, options: IClientOptions) {
  const client = connectMqtt({ host: '127.0.0.1', port, reconnectPeriod: 100, ...options })
  const events: string[] = []
  for (const event of ['connect', 'reconnect', 'error'] as const) client.on(event, () => { events.push(event) })
  t.teardown(() => client.endAsync(true))
  return { client, events }
}

for (const protocolVersion of [4, 5] as const) {
  const of5 = protocolVersion === 5 ? ' (MQTT 5)' : ''
  const open = (t: Test, port: number) => RawClient.open(t, port, protocolVersion)
  const connecting = (name: string) => connectPacket({ protocolVersion, ...login(name) })

  t.test(`a login that cannot be verified is held, and let in once it can be${of5}`, async (t) => {
    const { state, authenticate } = createSwitch()
    const { port, broker, log } = await startBroker(t, { authenticate, limits: NOT_SLOWED, answer: durable })
    const { client, events } = startMqttJs(t, port, { protocolVersion, ...login('band') })
    const pieces = await open(t, port)
    await pieces.sendInPieces(connecting('pieces'))
    pieces.send(publishPacket(1, { topic: 'vital/pieces' }))
    await until(() => broker.statistics().loginsHeld === 2 && state.asked > 4, 'both to be held and tried again')
    t.strictSame([pieces.packets, pieces.isClosed, events], [[], false, []], 'without an answer')
    t.strictSame([state.isRetry[0], state.isRetry.at(-1)], [false, true])
    state.isAway = false
    await until(() => client.connected, 'MQTT.js')
    await pieces.waitFor('puback')
    t.strictSame(events, ['connect'], 'over its first connection')
    t.equal(broker.statistics().loginsHeld, 0)
    t.match(log.filter(({ msg }) => /cannot be verified now/.test(String(msg))), exactly({ level: 40 }), 'logged once in a while')
    const wrong = await open(t, port)
    state.isAway = true
    wrong.send(connectPacket({ protocolVersion, ...login('band'), password: Buffer.from('a guess') }))
    await until(() => broker.statistics().loginsHeld === 1, 'a wrong password to be held, too')
    state.isAway = false
    await wrong.waitFor('connack')
    const [refusal] = wrong.of('connack')
    t.equal(refusal!.returnCode ?? refusal!.reasonCode, protocolVersion === 5 ? 0x87 : 5)
  })

  t.test(`a login that is held for too long is closed without a CONNACK, and MQTT.js comes back by itself${of5}`, async (t) => {
    const { state, authenticate } = createSwitch()
    const { port } = await startBroker(t, { authenticate, limits: { ...NOT_SLOWED, heldLoginTimeoutMs: 300 } })
    const raw = await open(t, port)
    raw.send(connecting('raw'))
    await raw.closed()
    t.strictSame(raw.packets, [])
    const { client, events } = startMqttJs(t, port, { protocolVersion, ...login('band') })
    await until(() => events.filter((event) => event === 'reconnect').length > 1, 'two more tries')
    state.isAway = false
    await until(() => client.connected, 'MQTT.js')
    t.notOk(events.includes('error'))
  })

  t.test(`held logins are bounded in number and in bytes, and one whose client leaves is freed${of5}`, async (t) => {
    for (const limits of [{ heldLoginsMax: 2 }, { heldLoginBytesMax: 20_000 }]) {
      const { authenticate } = createSwitch()
      const { port, broker } = await startBroker(t, { authenticate, limits: { ...NOT_SLOWED, ...limits } })
      const clients: RawClient[] = []
      for (let index = 0; index < 3; index++) {
        const client = await open(t, port)
        client.send(connectPacket({
          protocolVersion,
          ...login(`band-${index}`),
          will: {
            topic: `vital/band-${index}`,
            payload: Buffer.alloc(9000,
              'x'),
            qos: 0,
            retain: false
          }
        }))
        clients.push(client)
        await until(() => client.isClosed || broker.statistics().loginsHeld === index + 1, 'it to be held')
      }
      await clients[2]!.closed()
      t.strictSame(clients.map(({ isClosed, packets }) => [isClosed, packets.length]), [[false, 0], [false, 0], [true, 0]])
      t.equal(broker.statistics().limitHits.get('held_logins'), 1)
      clients[0]!.socket.destroy()
      await until(() => broker.statistics().loginsHeld === 1, 'the first to go')
    }
  })

  t.test(`too many passwords, a login that does not end, and a stop are answered without CONNACK 3${of5}`, async (t) => {
    const answers: Authentication[] = [{ status: 'unavailable', isOverloaded: true }]
    let asked = 0
    const { port, broker } = await startBroker(t, {
      limits: { ...NOT_SLOWED, authenticationTimeoutMs: 100 },
      authenticate: (credentials) => {
        asked++
        if (credentials.clientId === 'slow') return new Promise(() => {})
        return answers.shift() ?? (credentials.clientId === 'waits' ? AWAY : authenticateByName(credentials))
      }
    })
    const { client, events } = startMqttJs(t, port, { protocolVersion, ...login('band') })
    await until(() => client.connected, 'MQTT.js to come back')
    t.strictSame([events, asked], [['reconnect', 'connect'], 2], 'a login beyond the limit is closed at once, and not retried ' +
      'by the broker')
    const slow = await open(t, port)
    slow.send(connecting('slow'))
    await slow.closed()
    const waits = await open(t, port)
    waits.send(connecting('waits'))
    await until(() => broker.statistics().loginsHeld === 1, 'it to be held')
    const eventsBeforeStop = [...events]
    await broker.stop()
    await waits.closed()
    await settleDown()
    t.strictSame([slow.packets, waits.packets], [[], []])
    t.notOk(eventsBeforeStop.includes('error'))
  })
}
