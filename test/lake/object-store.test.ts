/** Stores that answer a conditional write otherwise than S3 does. */
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { LAKE_LIMITS } from '../../src/lake/limits.ts'
import { loadS3 } from '../../src/lake/load-packages.ts'
import { createObjectStore, isStoreError, toStoreMessage } from '../../src/lake/object-store.ts'

/** @param answers - the status of each PUT in turn; the last one stays */
async function createStore (t: Test, answers: readonly number[]) {
  const puts: string[] = []
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      if (request.method === 'PUT') puts.push(String(request.headers['if-none-match'] ?? request.headers['if-match']))
      response.writeHead(request.method === 'PUT' ? answers[Math.min(puts.length, answers.length) - 1]! : 204).end()
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  Object.assign(process.env, {
    AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b', AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  const store = await createObjectStore({
    library: await loadS3(),
    location: { bucket: 'vital-lake', prefix: '' },
    limits: { ...LAKE_LIMITS, conflictMs: 1 },
    signal: new AbortController().signal
  })
  t.teardown(() => {
    store.close()
    server.close()
    server.closeAllConnections()
  })
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

t.test('409 is tried again, and 412 means that it is there', async (t) => {
  t.equal(await (await createStore(t, [409, 409, 200])).store.putNew('k', 'x'), true)
  t.equal(await (await createStore(t, [409, 412])).store.putNew('k', 'x'), false)
  const endless = await createStore(t, [409])
  await t.rejects(endless.store.putNew('k', 'x'))
  t.equal(endless.puts.length, LAKE_LIMITS.conflictsMax + 1)
  t.equal(await (await createStore(t, [404])).store.replace('k', 'x', '"e"'), false, 'it is gone')
})

t.test('a refusal is told with its status', async (t) => {
  const { store } = await createStore(t, [403])
  const error = await store.put('k', 'x').then(() => null, (error: unknown) => error)
  t.ok(isStoreError(error))
  t.match(toStoreMessage(error), /^403 /)
  t.notOk(isStoreError(new Error('a defect')))
})
