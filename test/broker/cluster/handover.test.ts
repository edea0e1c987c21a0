/** A session on its way between two gateways, step by step: the other gateway and Redis are played by the test. */
import { pino } from 'pino'
import t from 'tap'
import { Claims } from '../../../broker/cluster/claims.ts'
import { Handover } from '../../../broker/cluster/handover.ts'
import type { Argument, Reply } from '../../../broker/cluster/redis/redis-link.ts'
import { CLAIM, FORCE, SAVE, TRANSFER } from '../../../broker/cluster/scripts.ts'
import { SessionStore } from '../../../broker/cluster/session-store.ts'
import { CopiedWills } from '../../../broker/cluster/wills/copied-wills.ts'
import type { SessionState } from '../../../broker/session/sessions.ts'
import { settleDown } from '../../helpers/broker.ts'

const logger = pino({ level: 'silent' })
const STATE: SessionState = {
  owner: null,
  isKept: true,
  subscriptions: [['home/#', { qos: 2, noLocal: false, retainAsPublished: false, identifiers: [] }]],
  inbound: [],
  leftAtMs: 0,
  endsAtMs: null
}
const SCRIPTS = new Map([[SAVE, 'SAVE'], [TRANSFER, 'TRANSFER'], [CLAIM, 'CLAIM'], [FORCE, 'FORCE']])

/** A Redis that notes its commands, and answers when the test calls `answer`. */
function playRedis () {
  const asked: string[] = []
  const waiting: Array<() => void> = []
  async function pipeline (commands: ReadonlyArray<readonly [name: string, ...args: Argument[]]>): Promise<Reply[]> {
    asked.push(commands.map(([, script, , , clientId]) => `${SCRIPTS.get(String(script))} ${clientId}`).join(', '))
    await new Promise<void>((resolve) => { waiting.push(resolve) })
    return commands.map(() => 1)
  }
  return {
    asked,
    link: { isUp: true, pipeline, call: async () => null },
    async answer () {
      waiting.shift()?.()
      await settleDown()
    }
  }
}

t.test('a session that is handed over is written with the packet ids of its publishers', async (t) => {
  const { asked, link, answer } = playRedis()
  const store = new SessionStore({
    link,
    mayWrite: () => true,
    outbox: { lastSeq: 0, waitsFor: () => false, take: () => ({ entries: [], commands: [] }), noteReplies () {} },
    self: () => 'here',
    position: () => '0-0',
    isHolding: () => true,
    stateOf: () => STATE,
    deliveriesOf: () => [],
    isConnected: () => true,
    copiedWills: new CopiedWills(() => null),
    onLost () {},
    onUnknown () {},
    limits: { saveDelayMs: 60_000, pipelineBytesMax: 1e6 },
    logger
  })
  const told: string[] = []
  let adopting: Promise<void> | null = null
  let claim = () => {}
  const claiming = new Promise<void>((resolve) => { claim = resolve })
  const handover = new Handover({
    link,
    store,
    tell: (gateway, { t }) => { told.push(`${t} to ${gateway}`) },
    whenKnown: () => null,
    whenAdopted: () => adopting,
    whenClaimed: () => claiming,
    passage: { origin: '', number: 0, setAside: 0 },
    seen: () => ({}),
    self: () => 'here',
    parts: () => ({
      sessions: { stateOf: () => STATE, find: () => undefined, surrender () {} }, connections: { holderOf: () => undefined }
    }) as unknown as ReturnType<ConstructorParameters<typeof Handover>[0]['parts']>,
    logger
  })
  t.teardown(() => { store.stop() })
  for (const clientId of ['earlier', 'publisher']) store.own(clientId, 1, [])
  store.changed('earlier')
  const first = store.flush()
  await settleDown()
  let adopt = () => {}
  adopting = new Promise((resolve) => { adopt = resolve })
  handover.take('there', { t: 'ask', c: 'session', anew: false, id: 'id' })
  await settleDown()
  t.strictSame(told, [], 'a session that is being adopted is not complete yet')
  adopting = null
  adopt()
  await settleDown()
  t.strictSame(told, [], 'one that was just given to this gateway is not complete yet')
  store.own('session', 1, [])
  claim()
  await settleDown()
  t.strictSame(told, ['ready to there'])
  // A publish of QoS 2 for the session: its packet id and the delivery.
  store.changed('publisher')
  store.changed('session')
  const second = store.flush()
  handover.take('there', { t: 'take', id: 'id' })
  t.ok(handover.isHolding, 'later publishes are for the other gateway, which does not have the session yet')
  await answer()
  t.strictSame(asked, ['SAVE earlier', 'SAVE publisher, SAVE session'])
  await answer()
  t.strictSame(asked.at(-1), 'SAVE session, TRANSFER session')
  store.changed('session')
  const third = store.flush()
  await answer()
  await Promise.all([first, second, third])
  t.notOk(handover.isHolding)
  t.strictSame(told, ['ready to there', 'gone to there'])
  t.equal(asked.length, 3, 'and the session is not written any more')
})

interface PlayedClaim {
  readonly claimTimeoutMs: number
  /** The answer of Redis to CLAIM. */
  readonly answer: 'dead' | 'held'
  readonly adopted?: () => Promise<void>
  readonly fetch?: () => Promise<boolean>
}

function playClaims ({ claimTimeoutMs, answer, adopted = async () => {}, fetch = async () => false }: PlayedClaim) {
  const asked: string[] = []
  const owned = new Map<string, number>()
  const claims = new Claims({
    link: {
      isUp: true,
      async call (...[, script]) {
        asked.push(SCRIPTS.get(String(script))!)
        return [answer, 'there', 'null'].map((text) => Buffer.from(text))
      }
    },
    self: () => 'here',
    joining: { isJoined: true, downForMs: 0 },
    store: { owned, withhold () {}, resume () {}, own () {} } as unknown as SessionStore,
    handover: { cancel () {}, drop () {}, handing: () => undefined, fetch, async finish () {} } as unknown as Handover,
    adopted,
    parts: () => { throw new Error('not used') },
    limits: { claimTimeoutMs, leaseMs: 5 },
    logger
  })
  return { asked, owned, claimed: claims.claim({ clientId: 'session', principal: null, startsAnew: false }) }
}

t.test('a client of a dead gateway waits for the adoption of its session, however long it takes', async (t) => {
  let adopt = () => {}
  const { claimed, asked, owned } = playClaims({
    claimTimeoutMs: 5, answer: 'dead', adopted: () => new Promise<void>((resolve) => { adopt = resolve })
  })
  await new Promise((resolve) => { setTimeout(resolve, 20) })
  owned.set('session', 2)
  adopt()
  t.equal(await claimed, 'granted')
  t.strictSame(asked, ['CLAIM'], 'a session taken by force during an adoption would be read twice')
})

t.test('a client is taken by force from a gateway that was asked several times, not because time has passed', async (t) => {
  const claimTimeoutMs = 200
  let fetched = 0
  const { claimed, asked } = playClaims({
    claimTimeoutMs,
    answer: 'held',
    async fetch () {
      // This process is frozen for longer than the gateway has time to answer.
      if (++fetched === 1) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2 * claimTimeoutMs)
      return false
    }
  })
  t.equal(await claimed, 'granted')
  t.strictSame(asked, ['CLAIM', 'CLAIM', 'CLAIM', 'CLAIM', 'CLAIM', 'FORCE'])
})
