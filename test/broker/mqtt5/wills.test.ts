import t from 'tap'
import { LimitHits } from '../../../broker/limit-hits.ts'
import { Wills } from '../../../broker/mqtt5/wills.ts'

const WILL = { topic: 'home/x', payload: Buffer.from('gone'), qos: 1, retain: false, messageExpiryS: null, forwarded: null } as const

function createWills (limits = { delayedWillsMax: 10, delayedWillBytesMax: 1000 }) {
  const changed: string[] = []
  const published: string[] = []
  const wills = new Wills({ limits, hits: new LimitHits(), onChanged: (clientId) => { changed.push(clientId) } })
  const add = (clientId: string, delayMs = 60_000, id: string | null = clientId) => {
    wills.add(clientId, delayMs, {
      will: WILL,
      principal: id === null ? null : { id, role: 'device' },
      expiresAtMs: Infinity,
      bytes: 100,
      publish: () => { published.push(clientId) }
    })
  }
  return { wills, add, changed, published }
}

t.test('a change of some principals concerns their wills alone', async (t) => {
  const { wills, add } = createWills()
  for (const id of ['a', 'b', 'c']) add(id)
  add('anonymous', 60_000, null)
  wills.review(() => 0, new Set(['b']))
  t.equal(wills.size, 3)
  t.equal(wills.find('b'), undefined)
  wills.review((principal) => principal?.id === 'a' ? Date.now() + 60_000 : undefined, new Set(['a']))
  t.equal(wills.size, 3, 'one that may stay for a while')
  wills.review((principal) => principal?.id === 'c' ? 0 : undefined)
  t.equal(wills.size, 2, 'a change of all')
})

t.test('each change is told, and there is room for as many as may wait', async (t) => {
  const { wills, add, changed, published } = createWills({ delayedWillsMax: 2, delayedWillBytesMax: 250 })
  add('at once', 0)
  t.strictSame([published, changed], [['at once'], []])
  add('a')
  t.ok(wills.admits(1, 150))
  t.notOk(wills.admits(1, 151))
  t.notOk(wills.admits(2, 100))
  add('b')
  add('c')
  t.strictSame(published, ['at once', 'c'], 'beyond, it is published at once')
  wills.fire('a')
  wills.cancel('b')
  wills.cancel('nobody')
  t.strictSame(changed, ['a', 'b', 'a', 'b'])
  t.ok(wills.admits(2, 250))
})
