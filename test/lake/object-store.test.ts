/** Stores whose answers to conditional writes differ from S3, or that do not answer. */
import t, { type Test } from 'tap'
import { LAKE_LIMITS, type LakeLimits } from '../../src/lake/limits.ts'
import { loadS3 } from '../../src/lake/load-packages.ts'
import { createObjectStore, isStoreError, toStoreMessage } from '../../src/lake/object-store.ts'
import { startScriptedStore } from './scripted-store.ts'

async function createStore (t: Test, answers: readonly number[], limits: Partial<LakeLimits> = {}) {
  const puts = await startScriptedStore(t, answers)
  const store = await createObjectStore({
    library: await loadS3(),
    location: { bucket: 'vital-lake', prefix: '' },
    limits: { ...LAKE_LIMITS, conflictMs: 1, ...limits },
    signal: new AbortController().signal
  })
  t.teardown(() => { store.close() })
  return { store, puts }
}

t.test('a store that keeps conditions passes', async (t) => {
  const { store, puts } = await createStore(t, [200, 412, 412])
  await store.check()
  t.same(puts, ['*', '*', '"00000000000000000000000000000000"'])
})

for (const [condition, answers] of [['If-None-Match: \\*', [200, 200]], ['If-None-Match: \\*', [200, 304]], ['If-Match', [200, 412, 200]],
  ['If-None-Match: \\*', [200, 501]]] as const) {
  t.test(`answers ${answers.join(', ')}: refused`, async (t) => {
    const { store } = await createStore(t, answers)
    await t.rejects(store.check(), new RegExp(`does not keep ${condition}: it answers ${answers.at(-1)}`))
  })
}

t.test('409 is tried again, and 412 means that the object exists', async (t) => {
  t.equal(await (await createStore(t, [409, 409, 200])).store.putNew('k', 'x'), true)
  t.equal(await (await createStore(t, [409, 412])).store.putNew('k', 'x'), false)
  const endless = await createStore(t, [409])
  await t.rejects(endless.store.putNew('k', 'x'))
  t.equal(endless.puts.length, LAKE_LIMITS.conflictsMax + 1)
  t.equal(await (await createStore(t, [404])).store.replace('k', 'x', '"e"'), false, 'the object is gone')
})

t.test('a refusal is an error with its status', async (t) => {
  const { store } = await createStore(t, [403])
  const error = await store.put('k', 'x').then(() => null, (error: unknown) => error)
  t.ok(isStoreError(error))
  t.match(toStoreMessage(error), /^403 /)
  t.notOk(isStoreError(new Error('a defect')))
})

t.test('a plan is waited for as long as a request, not as long as a large file', { timeout: 20_000 }, async (t) => {
  const { store } = await createStore(t, [], { storeTimeoutMs: 100 })
  const error = await store.read('k').then(() => null, (error: unknown) => error)
  t.ok(isStoreError(error), 'it is tried again')
})
