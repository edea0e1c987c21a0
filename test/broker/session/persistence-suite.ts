/**
 * The suite that aedes-persistence exports for its implementations, as far as it applies: our persistence delivers nothing itself
 * (broker/README.md, "A delivery is kept, not a message"), so some of its calls are answered elsewhere and some never.
 */
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { Readable } from 'node:stream'
import mqemitter from 'mqemitter'
import type { Test } from 'tap'
import type { Cluster } from '../../../broker/cluster.ts'
import type { Connections } from '../../../broker/connections.ts'
import { LiveFilters } from '../../../broker/deliver/live-filters.ts'
import { LimitHits } from '../../../broker/limit-hits.ts'
import { DEFAULT_LIMITS } from '../../../broker/limits.ts'
import { createPersistence } from '../../../broker/session/aedes-persistence.ts'
import { DeliveryMemory } from '../../../broker/session/delivery-memory.ts'
import { type QoS, toSubscription } from '../../../broker/session/delivery.ts'
import { RetainedMessages } from '../../../broker/session/retained.ts'
import { Session } from '../../../broker/session/session.ts'
import { Sessions } from '../../../broker/session/sessions.ts'
import type { KeptWills } from '../../../broker/wills/will.ts'

interface SuiteTest {
  readonly assert: typeof assert
  plan (count: number): void
  diagnostic (text: string): void
}
interface Suite {
  test (name: string, run: (t: SuiteTest) => Promise<void>): void
  persistence (): Promise<object>
  buildEmitter (): unknown
  readonly testAsync: true
}
const runSuite = createRequire(import.meta.url)('aedes-persistence/abstract') as (suite: Suite) => void

/** Tests that are not run, by reason. */
const NOT_RUN = {
  'deliveries are queued by sessions, which the emitter reaches: nothing is enqueued, streamed or updated here': [
    'add outgoing packet and stream it',
    'add outgoing packet for multiple subs and stream to all',
    'add outgoing packet as a string and pump',
    'add outgoing packet as a string and stream',
    'add outgoing packet and stream it twice',
    'add outgoing packet and update messageId',
    'add 2 outgoing packet and clear messageId',
    'add many outgoing packets and clear messageIds',
    'update to publish w/ same messageId',
    'update to pubrel'
  ],
  'for the same reason subscriptions are not looked up by topic': [
    'store and look up subscriptions by topic',
    'get subscriptions list after an unsubscribe',
    'QoS 0 subscriptions, restored but not matched',
    'clean subscriptions',
    'clean subscriptions with no active subscriptions',
    'same topic, different QoS',
    'replace subscriptions',
    'replace subscriptions in same call',
    'add duplicate subs to persistence for qos > 0'
  ],
  'Aedes 1.2.0 never calls it': [
    'get client list after subscriptions',
    'get client list after an unsubscribe',
    'store and count subscriptions',
    'count subscriptions with two clients',
    'get topic list after concurrent subscriptions of a client'
  ],
  'MQTT 5 is refused': ['store and look up a subscription with an MQTT 5.0 subscription identifier'],
  'of a QoS 2 publish the packet id is kept, and not the message': ['add incoming packet, get it, and clear with messageId'],
  'a will is kept by its connection': [
    'store, fetch and delete will message',
    'stream all will messages',
    'stream all will message for unknown brokers',
    'delete wills from dead brokers'
  ]
}

/** The parts under test, for a check that compares them with another copy. */
export interface UnderTest {
  readonly sessions: Sessions
  readonly retained: RetainedMessages
  /** Clients that the suite has used. */
  readonly clientIds: ReadonlySet<string>
}

/**
 * Our persistence, with the parts that the rest of the broker does for Aedes.
 * @param cluster - `null` keeps everything in this process
 */
function createUnderTest (cluster: Cluster | null) {
  const hits = new LimitHits()
  const limits = DEFAULT_LIMITS
  const retained = new RetainedMessages({ limits, onRefused () {}, ...(cluster !== null && { onChanged: cluster.retainedChanged }) })
  const memory = new DeliveryMemory(limits.queuedBytesMax)
  const options = {
    limits, hits, memory, retained, onUnread () {}, journal: cluster?.journal ?? null, whenCopied: cluster?.whenCopied ?? null
  }
  const createSession = (clientId: string) => new Session(options, clientId, false)
  const observer = { ended () {}, attached () {}, changed: cluster?.changed ?? (() => {}) }
  const sessions = new Sessions({ limits, hits, filters: new LiveFilters(cluster?.wants), createSession, observer })
  const persistence = createPersistence({
    retained, sessions, sessionOf: ({ id }) => sessions.find(id), whenCopied: cluster?.whenCopied ?? (() => null)
  })
  const connections = { connected: 0, holderOf: () => undefined } as unknown as Connections
  const statistics = () => ({ clientsConnected: 0, packetsReceived: 0, publishesReceived: 0, bytesReceived: 0, subscriptions: 0 })
  const wills: KeptWills = { published: 0, of: () => null, admits: () => true, wait () {}, async publish () {}, give () {} }
  cluster?.attach({ connections, sessions, retained, wills, statistics, deliverHere () {}, forgetHere () {} })
  const clientIds = new Set<string>()
  /** Claims a client id, as CONNECT does. */
  const claim = async (clientId: string) => {
    clientIds.add(clientId)
    await cluster?.claim({ clientId, principal: null, startsAnew: false })
  }
  const toRetainedStream = (filters: string[]) => Readable.from([...retained.matching(filters)].map(({ properties: _, ...copy }) => ({
    cmd: 'publish', id: 'broker-42', retain: true, ...copy
  })))
  const store = {
    ...persistence,
    broker: null as object | null,
    // The suite reads the broker back; ours does not need it.
    async setup (broker: object) {
      this.broker = broker
      await cluster?.start()
      await persistence.setup()
    },
    // A session sends retained messages itself.
    createRetainedStream: (filter: string) => toRetainedStream([filter]),
    createRetainedStreamCombi: toRetainedStream,
    // createSubscriptionGuard stores granted subscriptions.
    async addSubscriptions ({ id }: { id: string }, subscriptions: ReadonlyArray<{ topic: string, qos: QoS }>) {
      await claim(id)
      for (const { topic, qos } of subscriptions) sessions.subscribe(id, topic, toSubscription(qos))
    },
    // Options of MQTT 5, at their defaults.
    async subscriptionsByClient (client: { id: string }) {
      return (await persistence.subscriptionsByClient(client)).map((subscription) => ({ ...subscription, rh: 0, rap: true, nl: false }))
    },
    // Aedes always asks first.
    async incomingStorePacket (client: { id: string }, packet: { cmd: string, messageId: number }) {
      await claim(client.id)
      await persistence.incomingGetPacket(client, packet).then(() => {}, () => {})
      return persistence.incomingStorePacket(client, packet)
    }
  }
  return { store, underTest: { sessions, retained, clientIds } }
}

interface SuiteOptions {
  /** The cluster of the next test. */
  readonly createCluster?: () => Cluster
  /** Called after each test. */
  readonly check?: (t: Test, underTest: UnderTest) => Promise<void>
}

/** Runs the suite, as far as it applies. */
export function runPersistenceSuite (t: Test, { createCluster, check }: SuiteOptions = {}): void {
  const names: string[] = []
  let underTest: UnderTest | null = null
  runSuite({
    test (name, run) {
      names.push(name)
      if (Object.values(NOT_RUN).flat().includes(name)) return
      t.test(name, async (t) => {
        let planned = 0
        let asserted = 0
        const counting = new Proxy(assert, {
          get (target, key: keyof typeof assert) {
            asserted++
            return target[key]
          }
        })
        await run({ assert: counting, plan (count) { planned = count }, diagnostic () {} })
        t.ok(planned === 0 || asserted === planned, 'all planned assertions ran')
        await check?.(t, underTest!)
      })
    },
    async persistence () {
      const created = createUnderTest(createCluster?.() ?? null)
      underTest = created.underTest
      return created.store
    },
    buildEmitter: () => mqemitter(),
    testAsync: true
  })

  t.test('every test of the suite is run, or named with the reason', async (t) => {
    const notRun = Object.values(NOT_RUN).flat()
    for (const name of notRun) t.ok(names.includes(name), name)
    t.equal(new Set(notRun).size, notRun.length)
    t.equal(names.length - notRun.length, 20)
  })
}
