import t from 'tap'
import type { Authentication } from '../../broker/connect/credentials.ts'
import { HTTP_LIMITS } from '../../src/http/limits.ts'
import { createRateLimit } from '../../src/http/rate-limit.ts'
import { expectError, post, startHttpServer } from '../helpers/http-server.ts'

const BODY = '{"device":"band-1","timestamp":1}'

/** Authenticates a few names. The answer for `slow-…` takes 5 ms. */
function authenticate ({ authorization = '' }: { authorization?: string | undefined }): Authentication | Promise<Authentication> {
  const name = authorization.replace('Bearer ', '')
  if (name.startsWith('slow-')) return new Promise((resolve) => { setTimeout(() => { resolve(toAuthentication(name.slice(5))) }, 5) })
  return toAuthentication(name)
}

function toAuthentication (name: string): Authentication {
  if (name === 'away') return { status: 'unavailable' }
  const [role, id = ''] = name.split('.')
  if (role !== 'device' && role !== 'operator' && role !== 'application' && role !== 'admin') {
    return { status: 'refused', reason: 'wrong_secret' }
  }
  return { status: 'accepted', principal: { id, role } }
}

const as = (name: string) => ({ authorization: `Bearer ${name}` })

t.test('an unauthenticated request is refused before its body is read', async (t) => {
  let ingested = 0
  const { url } = await startHttpServer(t, { authenticate, ingest: (_payload, settle) => { ingested++; settle({ status: 'durable' }) } })
  const refused = await post(url, 'x'.repeat(5000))
  t.equal(refused.headers.get('www-authenticate'), 'Bearer')
  await expectError(t, refused, 401, 'VITAL_UNAUTHENTICATED')
  await expectError(t, await post(url, BODY, as('nobody')), 401, 'VITAL_UNAUTHENTICATED')
  await expectError(t, await post(url, BODY, as('slow-nobody')), 401, 'VITAL_UNAUTHENTICATED')
  const away = await post(url, BODY, as('slow-away'))
  t.equal(away.headers.get('retry-after'), '5')
  await expectError(t, away, 503, 'VITAL_AUTHENTICATION_UNAVAILABLE')
  await expectError(t, await post(url, BODY, as('operator.ann')), 403, 'VITAL_FORBIDDEN')
  await expectError(t, await fetch(`${url}/nowhere`), 401, 'VITAL_UNAUTHENTICATED')
  await expectError(t, await fetch(`${url}/nowhere`, { headers: as('admin.root') }), 404, 'VITAL_ROUTE_NOT_FOUND')
  await expectError(t, await fetch(`${url}/vital-data`, { method: 'PUT', headers: as('admin.root') }), 405, 'VITAL_METHOD_NOT_ALLOWED')
  t.equal(ingested, 0)
  t.equal((await post(url, BODY, as('slow-device.band-1'))).status, 202)
})

t.test('ingest gets the device whose readings a request may carry', async (t) => {
  const told: Array<string | null> = []
  const { url } = await startHttpServer(t, {
    authenticate,
    ingest: (_payload, settle, onlyDevice) => {
      told.push(onlyDevice)
      settle(onlyDevice === 'band-2' ? { status: 'forbidden' } : { status: 'durable' })
    }
  })
  t.equal((await post(url, BODY, as('device.band-1'))).status, 202)
  t.equal((await post(url, BODY, as('admin.root'))).status, 202)
  await expectError(t, await post(url, BODY, as('device.band-2')), 403, 'VITAL_FORBIDDEN')
  t.same(told, ['band-1', null, 'band-2'])
})

t.test('an address that guesses credentials is slowed; cached credentials from it are not', async (t) => {
  let limited = 0
  let lookups = 0
  const { url } = await startHttpServer(t, {
    authenticate: (headers, mayLookUp) => {
      if (headers.authorization?.includes('slow-') !== true) return authenticate(headers)
      if (!mayLookUp()) return { status: 'unavailable', isUnasked: true }
      lookups++
      return authenticate(headers)
    },
    onLimited: () => { limited++ },
    monotonicMs: () => 0
  })
  const statuses = await Promise.all(Array.from({ length: 40 },
    async (_, index) => (await fetch(`${url}/vital-data`, { headers: as(`guess${index}`) })).status))
  const refused = statuses.filter((status) => status === 401).length
  t.equal(refused, HTTP_LIMITS.badCredentialsBurst)
  t.equal(limited, 40 - refused)
  const answer = await fetch(`${url}/vital-data`, { headers: as('slow-operator.ann') })
  t.equal(answer.headers.get('retry-after'), '1')
  await expectError(t, answer, 429, 'VITAL_TOO_MANY_REQUESTS')
  t.equal(lookups, 0)
  t.equal((await fetch(`${url}/vital-data`, { headers: as('operator.ann') })).status, 200)
  t.equal((await fetch(`${url}/health/live`)).status, 200, 'and so does a probe without credentials')
})

t.test('the request rate is bounded per principal, or per address in the open mode', async (t) => {
  for (const isOpen of [true, false]) {
    let limited = 0
    const { url } = await startHttpServer(t, {
      requestsPerSecondMax: 2,
      onLimited: () => { limited++ },
      monotonicMs: () => 0,
      ...(isOpen
        ? {}
        : { authenticate })
    })
    const flood = await Promise.all(Array.from({ length: 40 },
      async () => (await fetch(`${url}/vital-data`, { headers: as('operator.ann') })).status))
    const passed = flood.filter((status) => status === 200).length
    t.equal(passed, 4)
    t.equal(flood.filter((status) => status === 429).length, 40 - passed)
    t.equal(limited, 40 - passed)
    t.equal((await fetch(`${url}/vital-data`, { headers: as('operator.bob') })).status, isOpen ? 429 : 200)
  }
})

t.test('a token bucket refills up to its size, and the number of buckets is bounded', (t) => {
  let nowMs = 0
  const limit = createRateLimit({ perSecond: 2, burst: 4, keysMax: 3, monotonicMs: () => nowMs })
  const take = (key: string) => limit.take(key)
  t.same([1, 2, 3, 4, 5].map(() => take('a')), [true, true, true, true, false])
  t.ok(limit.isExhausted('a'))
  t.notOk(limit.isExhausted('b'))
  nowMs += 499
  t.notOk(take('a'))
  nowMs += 1
  t.ok(take('a'))
  t.notOk(take('a'))
  nowMs += 3_600_000
  t.same([1, 2, 3, 4, 5].map(() => take('a')), [true, true, true, true, false])
  for (let index = 0; index < 100; index++) take(`k${index}`)
  t.equal(limit.size, 3)
  t.ok(take('a'), 'a forgotten bucket is full again')
  const none = createRateLimit({ perSecond: 0, burst: 0, keysMax: 3 })
  t.ok(none.take('a'))
  t.notOk(none.isExhausted('a'))
  t.equal(none.size, 0)
  t.end()
})

t.test('tokens are shared with other gateways, also while new keys come all the time', async (t) => {
  let told = 0
  let keys = 0
  const spend = async (_rate: unknown, spent: ReadonlyMap<string, number>) => {
    told++
    keys = Math.max(keys, spent.size)
    return new Map([['a', -1]])
  }
  const limit = createRateLimit({ perSecond: 10, burst: 20, keysMax: 50, others: { name: 'http', spend } })
  t.ok(limit.take('a'))
  const untilMs = performance.now() + 200
  for (let key = 0; performance.now() < untilMs; key++) {
    limit.take(`k${key}`)
    await new Promise(setImmediate)
  }
  t.ok(told > 2)
  t.ok(keys <= 50, 'and of no more keys than there are buckets')
  const fresh = createRateLimit({ perSecond: 10, burst: 20, keysMax: 50, others: { name: 'http', spend } })
  t.ok(fresh.take('a'))
  await new Promise((resolve) => { setTimeout(resolve, 50) })
  t.notOk(fresh.take('a'), 'the rest that others have left counts')
})
