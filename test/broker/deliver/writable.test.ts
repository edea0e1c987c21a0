import t from 'tap'
import { isWritable } from '../../../broker/deliver/writable.ts'
import { RawClient, settleDown, startBroker } from '../../helpers/broker.ts'
import { until } from '../../helpers/until.ts'

t.test('messages that can be encoded', (t) => {
  for (const qos of [0, 1, 2] as const) t.ok(isWritable({ topic: 'a', qos }))
  t.notOk(isWritable({ topic: 'a', qos: 3 as 2 }))
  t.notOk(isWritable({ topic: '', qos: 0 }))
  t.ok(isWritable({ topic: 'x'.repeat(65_535), qos: 0 }))
  t.notOk(isWritable({ topic: 'x'.repeat(65_536), qos: 0 }))
  t.notOk(isWritable({ topic: 'ä'.repeat(32_768), qos: 0 }))
  t.end()
})

t.test('a message that cannot be encoded closes no subscriber, live or from a queue', async (t) => {
  const { broker, port, log } = await startBroker(t)
  const kept = await RawClient.connected(t, port, { clientId: 'kept', clean: false })
  await kept.subscribe({ '#': 1 })
  kept.socket.destroy()
  await until(() => broker.statistics().clientsConnected === 0, 'it to go')
  const subscribers = await Promise.all(([0, 1, 2] as const).map(async (qos) => {
    const client = await RawClient.connected(t, port)
    await client.subscribe({ '#': qos })
    return client
  }))
  const payload = Buffer.from('x')
  broker.publish({ topic: 'chat/a', payload, qos: 3 as 2 })
  broker.publish({ topic: 'x'.repeat(70_000), payload, qos: 1 })
  broker.publish({ topic: 'chat/b', payload, qos: 1 })
  for (const client of subscribers) await client.waitFor('publish')
  const back = await RawClient.connected(t, port, { clientId: 'kept', clean: false })
  await back.waitFor('publish', 1)
  await settleDown()
  for (const client of [...subscribers, back]) {
    t.notOk(client.isClosed)
    t.strictSame(client.of('publish').at(-1)?.topic, 'chat/b')
  }
  t.equal(log.filter(({ msg }) => msg === 'delivery dropped: the message cannot be encoded').length, 1, 'logged once')
  t.equal(log.filter(({ msg }) => msg === 'broker error').length, 0)
  const again = await RawClient.connected(t, port, { clientId: 'kept', clean: false })
  await again.waitFor('publish')
  await settleDown()
  t.notOk(again.isClosed, 'the message is gone from the queue')
  t.ok(broker.statistics().deliveriesUnwritable >= 6)
})
