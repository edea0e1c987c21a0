/** More messages for one session than there are packet ids. */
import t, { type Test } from 'tap'
import { publishPacket, RawClient } from '../../helpers/broker.ts'
import { encodePubacks } from '../../../broker/wire/encode.ts'
import { NO_REDIS, startClustered, startRedis } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'

const BATCH = 1000
const COUNT = 70_000
const MOVED_AT = 60_000

/** A client that notes and acknowledges each message. */
async function subscriberAt (t: Test, port: number, received: number[]): Promise<RawClient> {
  const client = await RawClient.open(t, port)
  const ids: number[] = []
  client.packets.push = (...packets) => {
    for (const packet of packets) {
      if (packet.cmd === 'publish') {
        received.push(Number(packet.payload))
        if (ids.push(packet.messageId!) === 1) {
          setImmediate(() => { client.socket.write(encodePubacks(ids.splice(0))) })
        }
      } else Array.prototype.push.call(client.packets, packet)
    }
    return client.packets.length
  }
  await client.connect({ clientId: 'lk', clean: false })
  return client
}

t.test('70,000 messages for one session that moves at 60,000: each once, in order', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const limits = { queuedMessagesPerSessionMax: 10 * BATCH }
  const [a, b] = [await startClustered(t, redis.url, { limits }), await startClustered(t, redis.url, { limits })]
  const received: number[] = []
  let subscriber = await subscriberAt(t, a.port, received)
  await subscriber.subscribe({ 'home/#': 1 })
  const publisher = await RawClient.connected(t, a.port)
  for (let sent = 0; sent < COUNT; sent += BATCH) {
    const numbers = Array.from({ length: BATCH }, (_, index) => index + 1)
    publisher.send(...numbers.map((id) => publishPacket(id, { topic: 'home/x', payload: `${sent + id - 1}` })))
    await publisher.waitFor('puback', BATCH)
    publisher.packets.length = 0
    if (sent === MOVED_AT) {
      await until(() => received.length === sent + BATCH && a.broker.statistics().queuedMessages === 0)
      subscriber.socket.destroy()
      subscriber = await subscriberAt(t, b.port, received)
      t.ok(subscriber.of('connack')[0]!.sessionPresent)
    } else await until(() => received.length >= sent)
  }
  await until(() => received.length >= COUNT)
  t.equal(received.length, COUNT)
  t.ok(received.every((value, at) => value === at), 'in order')
})
