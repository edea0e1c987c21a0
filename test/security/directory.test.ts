import t from 'tap'
import type { StoredPrincipal } from '../../db/queries/principal-columns.ts'
import { createDirectory } from '../../src/security/directory.ts'
import { digestOf } from '../../src/security/secrets.ts'
import { exactly } from '../helpers/exactly.ts'

const stored = (id: string, secret = `secret of ${id}`, changes: Partial<StoredPrincipal> = {}): StoredPrincipal => ({
  id,
  role: 'device',
  createdAt: 1,
  changedAt: 1,
  revokedAt: null,
  credentials: [{
    kind: 'secret',
    secretSha256: Buffer.from(digestOf(secret), 'latin1').toString('hex'),
    passwordArgon2id: null,
    createdAt: 1,
    expiresAt: null
  }],
  ...changes
})

/** A directory over rows that the test changes. `queries` holds the keys of each query. */
function createWorld (limits: { principalsMax?: number, unknownMax?: number, unknownAgeMaxMs?: number } = {}) {
  const world = {
    rows: new Map<string, StoredPrincipal>(),
    queries: [] as Array<readonly string[]>,
    failures: [] as unknown[],
    isAway: false,
    hold: null as Promise<void> | null
  }
  const query = async (keys: readonly string[], isMatch: (row: StoredPrincipal) => boolean) => {
    world.queries.push(keys)
    const answer = [...world.rows.values()].filter(isMatch)
    if (world.hold !== null) await world.hold
    if (world.isAway) throw new Error('away')
    return answer
  }
  const directory = createDirectory({
    findByIds: (ids) => query(ids, ({ id }) => ids.includes(id)),
    findByDigests: (digests) => query(digests, ({ credentials }) => credentials.some(({ secretSha256 }) =>
      secretSha256 !== null && digests.includes(Buffer.from(secretSha256, 'hex').toString('latin1')))),
    onFailure: (error) => world.failures.push(error),
    ...limits
  })
  return { world, directory }
}

const idOf = (answer: Awaited<ReturnType<ReturnType<typeof createDirectory>['find']>>) =>
  typeof answer === 'object' ? answer.principal.id : answer

t.test('thousands of concurrent look-ups take a few queries, and none the second time', async (t) => {
  const { world, directory } = createWorld()
  for (let index = 0; index < 5000; index++) world.rows.set(`d${index}`, stored(`d${index}`))
  const answers = await Promise.all(Array.from({ length: 5000 }, (_, index) => Promise.resolve(directory.find(`d${index}`))))
  t.ok(answers.every((answer, index) => idOf(answer) === `d${index}`))
  t.ok(world.queries.length <= 10, `${world.queries.length} queries`)
  const queries = world.queries.length
  t.ok(answers.every((_answer, index) => !(directory.find(`d${index}`) instanceof Promise)), 'without a promise')
  t.ok(answers.every((_answer, index) => !(directory.findByDigest(digestOf(`secret of d${index}`)) instanceof Promise)))
  t.equal(world.queries.length, queries)
})

t.test('cached principals stay known while PostgreSQL is away; others are unavailable', async (t) => {
  const { world, directory } = createWorld()
  world.rows.set('a', stored('a'))
  t.equal(idOf(await directory.findByDigest(digestOf('secret of a'))), 'a')
  world.isAway = true
  t.equal(idOf(await directory.find('a')), 'a')
  t.equal(await directory.find('b'), 'unavailable')
  t.equal(await directory.findByDigest(digestOf('secret of b')), 'unavailable')
  t.equal(world.failures.length, 2)
  world.isAway = false
  t.equal(await directory.find('b'), undefined, 'the failure is not cached')
})

t.test('unknown ids are cached until a change, and evict no existing principal', async (t) => {
  const { world, directory } = createWorld({ principalsMax: 3, unknownMax: 3 })
  world.rows.set('a', stored('a'))
  await directory.find('a')
  for (let index = 0; index < 10; index++) {
    await directory.find(`guess${index}`)
    await directory.findByDigest(`guess${index}`)
  }
  t.equal(idOf(directory.find('a') as never), 'a')
  const queries = world.queries.length
  t.equal(directory.find('guess9'), undefined)
  t.equal(directory.findByDigest('guess9'), undefined)
  t.equal(world.queries.length, queries)

  t.equal(await directory.findByDigest(digestOf('new')), undefined)
  for (const id of ['guess8', 'guess9']) world.rows.set(id, stored(id, id === 'guess9' ? 'new' : id))
  directory.drop(['guess8', 'guess9'])
  t.equal(idOf(await directory.findByDigest(digestOf('new'))), 'guess9')
  t.equal(idOf(await directory.find('guess8')), 'guess8')
})

t.test('beyond its bound the directory evicts principals with their secrets, and looks them up again', async (t) => {
  const { world, directory } = createWorld({ principalsMax: 2 })
  for (const id of ['a', 'b', 'c']) world.rows.set(id, stored(id))
  for (const id of ['a', 'b', 'c']) await directory.find(id)
  t.equal(directory.size, 2)
  t.ok(directory.findByDigest(digestOf('secret of a')) instanceof Promise)
  t.notOk(directory.findByDigest(digestOf('secret of c')) instanceof Promise)
})

t.test('a change drops the cached principal: its old secret is unknown, the new one is found', async (t) => {
  const { world, directory } = createWorld()
  world.rows.set('a', stored('a', 'old'))
  const before = await directory.find('a')
  t.ok(typeof before === 'object' && directory.isCurrent(before))
  world.rows.set('a', stored('a', 'new', { changedAt: 2 }))
  directory.drop(['a'])
  t.notOk(directory.isCurrent(before as never))
  t.equal(await directory.findByDigest(digestOf('old')), undefined)
  t.equal(idOf(await directory.findByDigest(digestOf('new'))), 'a')
})

t.test('a look-up is repeated when a change comes before its answer', async (t) => {
  const { world, directory } = createWorld({ principalsMax: 1 })
  world.rows.set('a', stored('a'))
  let release = () => {}
  world.hold = new Promise((resolve) => { release = resolve })
  const asked = directory.find('a')
  while (world.queries.length === 0) await new Promise((resolve) => setTimeout(resolve, 1))
  // The query has read the row; now the principal is revoked, and the change is seen before the answer.
  world.rows.set('a', stored('a', 'x', { changedAt: 2, revokedAt: 2, credentials: [] }))
  directory.drop(['a'])
  world.hold = null
  release()
  t.match(await asked, { isRevoked: true })
  t.match(directory.find('a'), { isRevoked: true })
  t.equal(world.queries.length, 2)

  // The same for a principal that is added meanwhile.
  world.hold = new Promise((resolve) => { release = resolve })
  const unknown = directory.find('new')
  while (world.queries.length === 2) await new Promise((resolve) => setTimeout(resolve, 1))
  world.rows.set('new', stored('new'))
  directory.drop(['new'])
  world.hold = null
  release()
  t.equal(idOf(await unknown), 'new')
  await directory.find('a')
  t.equal(idOf(await directory.find('new')), 'new', 'its earlier absence is not cached')
})

t.test('an unknown id is forgotten after a while', async (t) => {
  const { world, directory } = createWorld({ unknownAgeMaxMs: 30 })
  t.equal(await directory.find('a'), undefined)
  t.equal(await directory.findByDigest(digestOf('secret of a')), undefined)
  t.equal(directory.find('a'), undefined, 'without a query')
  world.rows.set('a', stored('a'))
  await new Promise((resolve) => setTimeout(resolve, 40))
  t.equal(idOf(await directory.find('a')), 'a')
  t.equal(idOf(await directory.findByDigest(digestOf('secret of a'))), 'a')
})

t.test('when any principal may have changed, cached ones are valid until they are refreshed', async (t) => {
  const { world, directory } = createWorld()
  for (const id of ['same', 'changed', 'gone']) {
    world.rows.set(id, stored(id))
    await directory.find(id)
  }
  await directory.find('nobody')
  world.rows.set('changed', stored('changed', 'new'))
  world.rows.delete('gone')
  directory.doubt()
  t.equal(directory.peek('nobody'), undefined)
  t.same(directory.ids(), ['same', 'changed', 'gone'])
  world.isAway = true
  await t.rejects(directory.refresh(directory.ids()))
  t.equal(idOf(directory.find('gone') as never), 'gone')
  world.isAway = false
  await directory.refresh(directory.ids())
  t.match(directory.peek('same'), { secrets: exactly({ digest: digestOf('secret of same') }) })
  t.match(directory.peek('changed'), { secrets: exactly({ digest: digestOf('new') }) })
  t.equal(directory.peek('gone'), null)
})
