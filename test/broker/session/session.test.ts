import t from 'tap'
import { LimitHits } from '../../../broker/limit-hits.ts'
import { type BrokerLimits, DEFAULT_LIMITS } from '../../../broker/limits.ts'
import { type Delivery, type Link, type Message, toSubscription } from '../../../broker/session/delivery.ts'
import type { RetainedCopy } from '../../../broker/session/retained-copies.ts'
import { DeliveryMemory } from '../../../broker/session/delivery-memory.ts'
import { Session } from '../../../broker/session/session.ts'
import { createRandom } from '../../helpers/broker.ts'

type Sent = { kind: 'publish', text: string, id: number, isDuplicate: boolean, qos: 0 | 1 | 2 } | { kind: 'pubrel', id: number }

/** A connection that notes the packets it is given. */
class FakeLink implements Link {
  readonly sent: Sent[] = []
  readonly window: number
  hasRoom = true
  unsentBytes = 0

  constructor (window: number) {
    this.window = window
  }

  sendUnacknowledged ({ payload }: Message): void {
    this.sent.push({ kind: 'publish', text: payload.toString(), id: 0, isDuplicate: false, qos: 0 })
  }

  send ({ message, packetId, qos }: Delivery & { readonly message: Message }, isDuplicate: boolean): boolean {
    this.sent.push({ kind: 'publish', text: message.payload.toString(), id: packetId, isDuplicate, qos })
    return true
  }

  release (packetId: number): void {
    this.sent.push({ kind: 'pubrel', id: packetId })
  }
}

const toMessage = (text: string): Message => ({ topic: 'vital/lk', payload: Buffer.from(text), properties: null })
const PLAIN = { isRetained: false, identifiers: [] }
const everything = () => true
const textsOf = ({ sent }: FakeLink) => sent.map((packet) => packet.kind === 'publish' && `${packet.text} ${packet.qos}`)

function createSession ({
  retained = [], isClean = false, limits = {},
  memory = new DeliveryMemory(limits.queuedBytesMax ?? DEFAULT_LIMITS.queuedBytesMax)
}: {
  retained?: RetainedCopy[], isClean?: boolean, limits?: Partial<BrokerLimits>, memory?: DeliveryMemory
} = {}) {
  const unread = { count: 0 }
  const session = new Session({
    limits: { ...DEFAULT_LIMITS, ...limits },
    hits: new LimitHits(),
    memory,
    retained: { has: (topic) => retained.some((copy) => copy.topic === topic), matching: () => retained.values() },
    onUnread () { unread.count++ },
    journal: null,
    whenCopied: null
  }, 'lk', isClean)
  return { session, totals: memory, unread }
}

for (const window of [1, 2, 20]) {
  t.test(`a window of ${window} is never exceeded, and each message arrives, at QoS 2 once, in order`, (t) => {
    const seed = Math.floor(Math.random() * 2 ** 32)
    t.comment(`seed ${seed}`)
    const random = createRandom(seed)
    const { session, totals } = createSession()
    let link = new FakeLink(window)
    session.attach(link, everything)
    let read = 0
    let outstanding = new Map<number, 1 | 2>()
    const received = new Set<number>()
    const arrived: { 1: string[], 2: string[] } = { 1: [], 2: [] }
    const owedByClient = new Set<number>()
    const readOn = () => {
      for (; read < link.sent.length; read++) {
        const packet = link.sent[read]!
        if (packet.kind === 'pubrel') {
          owedByClient.add(packet.id)
          continue
        }
        t.notOk(outstanding.has(packet.id), 'its packet id is free')
        outstanding.set(packet.id, packet.qos as 1 | 2)
        if (outstanding.size > window) t.fail(`${outstanding.size} outstanding`)
        const known = packet.qos === 2 ? received.has(packet.id) : arrived[1].includes(packet.text)
        if (known) t.ok(packet.isDuplicate)
        else arrived[packet.qos as 1 | 2].push(packet.text)
        if (packet.qos === 2) received.add(packet.id)
      }
    }
    const step = (choice: number) => {
      const [id, qos] = [...outstanding][Math.floor(random() * outstanding.size)] ?? []
      if (choice < 0.05) {
        session.detach(link)
        link = new FakeLink(window)
        read = 0
        outstanding = new Map()
        owedByClient.clear()
        session.attach(link, everything)
      } else if (choice < 0.1) {
        link.hasRoom = !link.hasRoom
        if (link.hasRoom) session.resume()
      } else if (id !== undefined && qos === 1) {
        outstanding.delete(id)
        session.acknowledge(id)
      } else if (id !== undefined) {
        session.receive(id)
        owedByClient.add(id)
      }
      for (const id of random() < 0.5 ? owedByClient : []) {
        owedByClient.delete(id)
        received.delete(id)
        outstanding.delete(id)
        session.complete(id)
      }
      readOn()
    }
    const sent: { 1: string[], 2: string[] } = { 1: [], 2: [] }
    for (let number = 1; number <= 600; number++) {
      const qos = random() < 0.5 ? 1 : 2
      sent[qos].push(String(number))
      t.ok(session.deliver(toMessage(String(number)), qos, PLAIN))
      readOn()
      step(random())
    }
    link.hasRoom = true
    session.resume()
    readOn()
    for (let steps = 0; session.size > 0 && steps < 100_000; steps++) step(0.5)
    t.strictSame(arrived, sent)
    t.match(totals, { messages: 0, bytes: 0 })
    t.end()
  })
}

t.test('PUBRELs are sent again in the order of PUBRECs, behind deliveries without PUBREC', (t) => {
  const { session } = createSession()
  const link = new FakeLink(10)
  session.attach(link, everything)
  for (const text of ['a', 'b', 'c']) session.deliver(toMessage(text), 2, PLAIN)
  session.receive(3)
  session.receive(1)
  session.detach(link)
  const next = new FakeLink(10)
  session.attach(next, everything)
  t.strictSame(next.sent.map((packet) => packet.kind === 'pubrel' ? packet.id : packet.text), ['b', 3, 1])
  session.acknowledge(2)
  t.equal(session.size, 3, 'PUBACK does not end QoS 2')
  session.detach(link)
  t.equal(session.link, next, 'a connection that was taken over takes nothing with it')
  t.end()
})

t.test('retained copies are sent when nothing else waits, and never behind a newer message', (t) => {
  const copy = (topic: string, qos: 0 | 1 | 2): RetainedCopy => ({ topic, payload: Buffer.from(`old ${topic}`), properties: null, qos })
  const { session } = createSession({ retained: [copy('a', 0), copy('b', 1), copy('vital/lk', 1), copy('c', 2)] })
  const link = new FakeLink(1)
  session.attach(link, everything)
  session.sendRetained('#', toSubscription(1))
  session.deliver(toMessage('new'), 1, PLAIN)
  for (const id of [1, 2, 3]) session.acknowledge(id)
  t.strictSame(textsOf(link), ['old a 0', 'old b 1', 'new 1', 'old c 1'])
  t.equal(session.size, 0)
  t.end()
})

t.test('retained copies are sent one by one when other sessions have filled the shared bound', (t) => {
  const retained = ['a', 'b', 'c'].map((topic): RetainedCopy => ({ topic, payload: Buffer.from(topic), properties: null, qos: 1 }))
  const { session } = createSession({ retained, limits: { queuedBytesMax: 0 } })
  const link = new FakeLink(10)
  session.attach(link, everything)
  session.sendRetained('#', toSubscription(1))
  for (const [index, id] of [1, 2, 3].entries()) {
    t.equal(link.sent.length, index + 1)
    session.acknowledge(id)
  }
  t.strictSame(textsOf(link), ['a 1', 'b 1', 'c 1'])
  t.end()
})

t.test('a clean session keeps no more than the bound of unsent bytes', (t) => {
  const { session, unread, totals } = createSession({ isClean: true, limits: { subscriberBufferBytesMax: 1000 } })
  const link = new FakeLink(1)
  session.attach(link, everything)
  link.unsentBytes = 1001
  t.notOk(session.deliver(toMessage('lost'), 1, PLAIN))
  session.pass(toMessage('lost'), PLAIN, { mqtt3: null, mqtt5: null })
  t.equal(unread.count, 2)
  link.unsentBytes = 0
  for (const text of ['sent', 'queued']) t.ok(session.deliver(toMessage(text), 1, PLAIN))
  for (let count = 0; count < 10; count++) session.deliver(toMessage('more'), 1, PLAIN)
  t.ok(totals.bytes < 2000 && unread.count > 2)
  link.unsentBytes = Infinity
  const { count } = unread
  session.pass(toMessage('closed'), PLAIN, { mqtt3: null, mqtt5: null })
  t.equal(unread.count, count, 'a closed connection does not count as slow')
  session.clear()
  t.match(totals, { messages: 0, bytes: 0 })
  t.end()
})

t.test('at the bound of all sessions each has its share, and those above it lose their newest messages', (t) => {
  const memory = new DeliveryMemory(20_000)
  const absent = [1, 2].map(() => createSession({ memory }).session)
  for (let n = 0; n < 100; n++) for (const session of absent) session.deliver(toMessage(`${n}`.padEnd(100)), 1, PLAIN)
  t.ok(memory.bytes > 19_000 && memory.bytes <= 20_000, `${memory.bytes}`)
  const { session } = createSession({ memory })
  const link = new FakeLink(20)
  session.attach(link, everything)
  for (let n = 0; n < 10; n++) t.ok(session.deliver(toMessage(`live ${n}`), 1, PLAIN), `${n}`)
  t.strictSame(textsOf(link), Array.from({ length: 10 }, (_, n) => `live ${n} 1`))
  for (const { bytes } of absent) t.ok(bytes > 6000 && bytes <= 20_000 / 3, `${bytes}`)
  const returned = new FakeLink(20)
  absent[0]!.attach(returned, everything)
  t.match(textsOf(returned)[0], /^0 /, 'the oldest are kept')
  t.end()
})

t.test('messages in flight that are never acknowledged take no room from other sessions', (t) => {
  const memory = new DeliveryMemory(20_000)
  const silent = createSession({ memory }).session
  silent.attach(new FakeLink(1000), everything)
  for (const length of [2000, 10]) while (silent.deliver(toMessage('x'.repeat(length)), 1, PLAIN));
  t.ok(memory.bytes > 19_600 && memory.bytes <= 20_000, `${memory.bytes}`)
  const { session } = createSession({ memory })
  const link = new FakeLink(20)
  session.attach(link, everything)
  t.ok(session.deliver(toMessage('x'.repeat(100)), 2, PLAIN))
  t.ok(silent.bytes <= 10_000, `${silent.bytes}`)
  silent.acknowledge(1)
  silent.clear()
  session.clear()
  t.match(memory, { messages: 0, bytes: 0 })
  t.end()
})
