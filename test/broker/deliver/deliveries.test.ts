import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { RawClient } from '../../helpers/broker.ts'
import { durable, publishPacket, settleDown, startBroker, type TestBroker, VERSIONS } from '../../helpers/broker.ts'
import { until } from '../../helpers/until.ts'

const range = (count: number) => Array.from({ length: count }, (_, index) => index + 1)
type Options = Parameters<typeof startBroker>[1]
const start = (t: Test, options: Options = {}) => startBroker(t, { answer: durable, ...options })
const numbersOf = (client: RawClient) => client.of('publish').map(({ payload }) => Number(payload.toString().slice(1)))

const idsOf = (client: RawClient) => client.of('publish').map(({ messageId }) => messageId)

const leave = async ({ broker }: TestBroker, client: RawClient) => {
  const { clientsConnected } = broker.statistics()
  client.socket.destroy()
  await until(() => broker.statistics().clientsConnected === clientsConnected - 1, 'the client to go')
}

const droppedOf = ({ broker }: TestBroker) => broker.statistics().limitHits.get('queue')! + broker.statistics().deliveriesDropped

/** Publishes `count` messages on `vital/lk`, numbered over all calls. @returns the last number */
const numbered = ({ broker }: TestBroker, size = 0) => {
  let last = 0
  return (count: number) => {
    for (const end = last + count; last < end;) {
      broker.publish({ topic: 'vital/lk', payload: Buffer.from(`m${++last}`.padEnd(size)), qos: 1 })
    }
    return last
  }
}

const acknowledge = (client: RawClient, from = 0) => {
  const ids = client.of('publish').slice(from).filter(({ qos }) => qos === 1).map(({ messageId }) => messageId!)
  if (ids.length > 0) client.send(...ids.map((messageId) => ({ cmd: 'puback', messageId }) as const))
}

for (const { clients, suffix } of VERSIONS) {
  const resume = (t: Test, { port }: TestBroker) => clients.connected(t, port, { clientId: 'kept', clean: false })

  t.test(`deliveries in flight are sent again, whatever filters matched [MQTT-4.4.0-1]${suffix}`, async (t) => {
    const test = await start(t)
    const kept = await resume(t, test)
    await kept.subscribe({ 'vital/#': 1, 'vital/+/rejected': 1, '#': 0 })
    for (const id of range(5)) test.broker.publish({ topic: 'vital/lk/rejected', payload: Buffer.from(`m${id}`), qos: 1 })
    await kept.waitFor('publish', 5)
    await settleDown()
    t.strictSame(kept.of('publish').map(({ qos }) => qos), [1, 1, 1, 1, 1], 'once each, at the highest QoS')
    await leave(test, kept)
    const back = await resume(t, test)
    await back.waitFor('publish', 5)
    t.strictSame(numbersOf(back), range(5))
    t.strictSame(idsOf(back), idsOf(kept), 'under the same packet ids')
    t.ok(back.of('publish').every(({ dup }) => dup))
  })

  t.test(`a message is queued at the QoS at which it is delivered, and at no other${suffix}`, async (t) => {
    const test = await start(t)
    const kept = await resume(t, test)
    await kept.subscribe({ 'vital/lk': 0, 'vital/#': 1 })
    const publisher = await clients.connected(t, test.port)
    publisher.send(...range(3).map((id) => publishPacket(id, { topic: 'vital/lk' })))
    await kept.waitFor('publish', 3)
    t.ok(kept.of('publish').every(({ qos }) => qos === 1))
    acknowledge(kept)
    await until(() => test.broker.statistics().queuedMessages === 0, 'the queue to empty')
    await leave(test, kept)
    const back = await resume(t, test)
    await settleDown()
    t.equal(back.of('publish').length, 0)
  })

  t.test(`live messages stay behind queued ones [MQTT-4.6.0-6]${suffix}`, async (t) => {
    const test = await start(t)
    const kept = await resume(t, test)
    await kept.subscribe({ 'vital/#': 1 })
    await leave(test, kept)
    const publish = numbered(test)
    publish(300)
    const live = setInterval(() => { publish(3) }, 1)
    t.teardown(() => { clearInterval(live) })
    await sleep(20)
    const back = await resume(t, test)
    for (let acknowledged = 0; publish(0) < 900;) {
      await sleep(2)
      const { length } = back.of('publish')
      acknowledge(back, acknowledged)
      acknowledged = length
    }
    clearInterval(live)
    await back.waitFor('publish', publish(0))
    t.strictSame(numbersOf(back), range(publish(0)))
  })

  t.test(`a copy of a retained message is kept until it is acknowledged${suffix}`, async (t) => {
    const test = await start(t)
    const publisher = await clients.connected(t, test.port)
    publisher.send(...[1, 2].map((id) => publishPacket(id, { topic: `vital/d${id}`, retain: true })))
    await publisher.waitFor('puback', 2)
    const kept = await resume(t, test)
    await kept.subscribe({ 'vital/+': 1 })
    await kept.waitFor('publish', 2)
    await leave(test, kept)
    const back = await resume(t, test)
    await back.waitFor('publish', 2)
    t.strictSame(back.messages(), ['vital/d1 m1', 'vital/d2 m2'])
    t.ok(back.of('publish').every(({ dup, retain }) => dup && retain))
    acknowledge(back)
    await until(() => test.broker.statistics().queuedMessages === 0, 'the queue to empty')
  })

  t.test(`retained messages that were not sent before the client left are queued${suffix}`, async (t) => {
    const test = await start(t, { limits: { inFlightMessagesPerSessionMax: 2, queuedMessagesPerSessionMax: 3 } })
    const publisher = await clients.connected(t, test.port)
    publisher.send(...range(10).map((id) => publishPacket(id, { topic: `vital/d${id}`, retain: true })))
    await publisher.waitFor('puback', 10)
    const kept = await resume(t, test)
    await kept.subscribe({ 'vital/+': 1 })
    await kept.waitFor('publish', 2)
    await settleDown()
    t.equal(kept.of('publish').length, 2, 'the window')
    await leave(test, kept)
    const { queuedMessages, limitHits } = test.broker.statistics()
    t.strictSame([queuedMessages, limitHits.get('queue')], [5, 1], 'beyond the bound they are dropped')
    const back = await resume(t, test)
    for (const count of [2, 4, 5]) {
      await back.waitFor('publish', count)
      acknowledge(back, count - 2)
    }
    t.strictSame(numbersOf(back), range(5))
  })

  t.test(`each delivery has at most the QoS of its subscription [MQTT-3.8.4-6]${suffix}`, async (t) => {
    const test = await start(t)
    const publisher = await clients.connected(t, test.port)
    publisher.send(publishPacket(1, { topic: 'l/kept', retain: true }))
    publisher.send(publishPacket(2, { topic: 'l/two', retain: true, qos: 2 }))
    await publisher.waitFor('puback')
    await publisher.waitFor('pubrec')
    const zero = await clients.connected(t, test.port)
    await zero.subscribe({ 'l/+': 0 })
    await zero.waitFor('publish', 2)
    t.strictSame(zero.of('publish').map(({ qos }) => qos), [0, 0], 'retained')
    const one = await clients.connected(t, test.port)
    await one.subscribe({ 'l/#': 1, zz: 2 })
    await one.waitFor('publish', 2)
    t.strictSame(one.of('publish').map(({ qos }) => qos), [1, 1], 'retained')
    publisher.send(publishPacket(3, { topic: 'l/a', qos: 2 }), publishPacket(4, { topic: 'zz', qos: 2 }))
    await one.waitFor('publish', 4)
    t.strictSame(one.of('publish').slice(2).map(({ topic, qos }) => `${topic} ${qos}`), ['l/a 1', 'zz 2'])
  })

  t.test(`packet ids in flight are not used again, over reconnects${suffix}`, async (t) => {
    const test = await start(t)
    let kept = await resume(t, test)
    await kept.subscribe({ 'vital/#': 1 })
    const publish = numbered(test)
    publish(500)
    await kept.waitFor('publish', 500)
    for (let last = publish(0); last < 900;) {
      await leave(test, kept)
      kept = await resume(t, test)
      last = publish(20)
      await kept.waitFor('publish', last)
      t.equal(new Set(kept.of('publish').map(({ messageId }) => messageId)).size, last)
    }
    t.strictSame(numbersOf(kept), range(900))
    acknowledge(kept)
    await until(() => test.broker.statistics().queuedMessages === 0, 'each to be removed by its own PUBACK')
  })

  t.test(`packet ids in flight are not used again, over 70,000 deliveries${suffix}`, async (t) => {
    const test = await start(t)
    const kept = await resume(t, test)
    await kept.subscribe({ 'vital/#': 1 })
    const publish = numbered(test)
    publish(1)
    await kept.waitFor('publish')
    const held = kept.of('publish')[0]?.messageId
    let seen = 0
    let isReused = false
    while (seen < 70_000) {
      kept.packets.length = 0
      publish(500)
      await kept.waitFor('publish', 500)
      isReused ||= kept.of('publish').some(({ messageId }) => messageId === held)
      seen += kept.of('publish').length
      acknowledge(kept)
    }
    t.equal(seen, 70_000)
    t.notOk(isReused)
    await until(() => test.broker.statistics().queuedMessages === 1, 'all but one to be acknowledged')
  })

  for (const qos of [0, 1] as const) {
    t.test(`an older retained copy does not come behind a newer live message: QoS ${qos}${suffix}`, async (t) => {
      const test = await start(t, { limits: { messagesPerSecondMax: 0, bytesPerSecondMax: 0 } })
      const publisher = await clients.connected(t, test.port)
      const topics = range(2000).map((device) => `vital/d${device}`)
      let id = 0
      const publishAll = async (retains: (index: number) => boolean) => {
        publisher.packets.length = 0
        publisher.send(...topics.map((topic, index) => {
          return publishPacket(index + 1, { topic, payload: `m${++id}`, retain: retains(index) })
        }))
        await publisher.waitFor('puback', topics.length)
      }
      await publishAll(() => true)
      for (const round of range(5)) {
        const watcher = await clients.connected(t, test.port)
        watcher.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'vital/+', qos }] })
        await Promise.all([publishAll((index) => (index + round) % 2 === 0), sleep(round)])
        await watcher.waitFor('publish', topics.length)
        await settleDown()
        const last = new Map<string, number>()
        let inversions = 0
        for (const { topic, payload } of watcher.of('publish')) {
          const number = Number(payload.toString().slice(1))
          if (number < (last.get(topic) ?? 0)) inversions++
          last.set(topic, number)
        }
        t.equal(inversions, 0, `${inversions} inversions in ${watcher.of('publish').length}`)
        t.equal(last.size, topics.length, 'every topic has a message')
        watcher.socket.destroy()
      }
    })
  }

  t.test(`a persistent subscriber that reads slowly gets its queue, at once and after a reconnect${suffix}`, async (t) => {
    const test = await start(t)
    const kept = await resume(t, test)
    await kept.subscribe({ 'vital/#': 1 })
    const publish = numbered(test, 12_000)
    const publishAll = async () => {
      for (let turn = 0; turn < 60; turn++) {
        publish(10)
        await new Promise((resolve) => { setImmediate(resolve) })
      }
    }
    kept.socket.pause()
    await publishAll()
    t.equal(droppedOf(test), 0)
    kept.socket.resume()
    await kept.waitFor('publish', 600)
    t.strictSame(numbersOf(kept), range(600))
    acknowledge(kept)
    await until(() => test.broker.statistics().queuedMessages === 0, 'the queue to empty')
    kept.socket.pause()
    await publishAll()
    await leave(test, kept)
    const back = await resume(t, test)
    await back.waitFor('publish', 600)
    t.strictSame(numbersOf(back), range(1200).slice(600))
    t.equal(droppedOf(test), 0)
  })

  t.test(`queued messages of a device are dropped with the device, and their packet ids are freed${suffix}`, async (t) => {
    const test = await start(t)
    const kept = await resume(t, test)
    await kept.subscribe({ 'vital/#': 2 })
    for (const qos of [1, 2] as const) test.broker.publish({ topic: 'vital/lk', payload: Buffer.from('m1'), qos })
    await kept.waitFor('publish', 2)
    t.equal(test.broker.forget('lk').queued, 2)
    await leave(test, kept)
    const back = await resume(t, test)
    await back.waitFor('pubrel')
    await settleDown()
    t.equal(back.of('publish').length, 0)
    back.send({ cmd: 'pubcomp', messageId: back.of('pubrel')[0]!.messageId! })
    await until(() => test.broker.statistics().queuedMessages === 0, 'both to end')
  })
}
