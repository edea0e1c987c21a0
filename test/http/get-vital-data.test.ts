import t from 'tap'
import type { LatestQuery } from '../../schemas/vital-data.ts'
import { exactly } from '../helpers/exactly.ts'
import { expectError, RESOURCE, startHttpServer } from '../helpers/http-server.ts'

const DEFAULTS: LatestQuery = { count: 20, offset: 0, sortBy: 'timestamp', orderBy: 'desc' }

t.test('lists with defaults, keeping every key', async (t) => {
  const queries: LatestQuery[] = []
  const { url } = await startHttpServer(t, {
    reads: {
      listLatest: (query) => {
        queries.push(query)
        return Promise.resolve(JSON.stringify({ total: 7, resources: [RESOURCE] }))
      },
      findLatest: () => Promise.resolve(undefined)
    }
  })
  const response = await fetch(`${url}/vital-data`)
  t.equal(response.status, 200)
  t.match(response.headers.get('content-type'), /^application\/json/)
  t.equal(response.headers.get('cache-control'), 'no-store')
  const text = await response.text()
  t.strictSame(JSON.parse(text), { total: 7, resources: [RESOURCE] })
  t.match(text, '"timestamp":1735689600.123456', 'microseconds')
  t.strictSame(queries, [DEFAULTS])

  await fetch(`${url}/vital-data?count=100&offset=10000000&sortBy=breathRate&orderBy=asc`)
  t.strictSame(queries[1], { count: 100, offset: 10_000_000, sortBy: 'breathRate', orderBy: 'asc' })
  await fetch(`${url}/vital-data?count=1`)
  t.strictSame(queries[2], { ...DEFAULTS, count: 1 })

  t.equal((await fetch(`${url}/vital-data`, { method: 'HEAD' })).status, 200)
})

t.test('refuses every other query', async (t) => {
  const { url } = await startHttpServer(t, {
    reads: {
      listLatest: () => {
        t.fail('a bad query reached the database')
        return Promise.reject(new Error('unreachable'))
      },
      findLatest: () => Promise.resolve(undefined)
    }
  })
  const cases: Readonly<Record<string, string[]>> = {
    'count=5.9': ['/count'],
    'count=': ['/count'],
    'count=+5': ['/count'],
    'count=%2B5': ['/count'],
    'count=1e1': ['/count'],
    'count=0x5': ['/count'],
    'count=%205': ['/count'],
    'count=0': ['/count'],
    'count=101': ['/count'],
    'count=-1': ['/count'],
    'count=NaN': ['/count'],
    'count=null': ['/count'],
    'count=99999999999999999999': ['/count'],
    count: ['/count'],
    'count=5&count=6': ['/count'],
    'count[]=5': ['/count[]'],
    'offset=-1': ['/offset'],
    'offset=10000001': ['/offset'],
    'sortBy=': ['/sortBy'],
    'sortBy=time': ['/sortBy'],
    'sortBy=Timestamp': ['/sortBy'],
    'sortBy=timestamp;drop%20table%20latest': ['/sortBy'],
    'sortBy=constructor': ['/sortBy'],
    'sortBy=timestamp&sortBy=timestamp': ['/sortBy'],
    'orderBy=DESC': ['/orderBy'],
    'prefix=': ['/prefix'],
    'prefix=a/b': ['/prefix'],
    'prefix=%00': ['/prefix'],
    [`prefix=${'x'.repeat(129)}`]: ['/prefix'],
    'silentFor=': ['/silentFor'],
    'silentFor=0': ['/silentFor'],
    'silentFor=-5': ['/silentFor'],
    'silentFor=1.5': ['/silentFor'],
    'silentFor=5M': ['/silentFor'],
    'silentFor=05m': ['/silentFor'],
    'silentFor=1w': ['/silentFor'],
    'silentFor=99999999999': ['/silentFor'],
    'cursor=': ['/cursor'],
    [`cursor=${'x'.repeat(4097)}`]: ['/cursor'],
    'cursor=abc&offset=0': ['/cursor'],
    'cursor=abc&offset=20&count=0': ['/cursor', '/count'],
    'limit=5': ['/limit'],
    'Count=5': ['/Count'],
    '__proto__=1': ['/__proto__'],
    'constructor=1': ['/constructor'],
    'a/b~c=1': ['/a~1b~0c'],
    '=1': ['/'],
    'x=1&count=5.9&offset=a&sortBy=b&orderBy=c&y=2': ['/x', '/y', '/count', '/offset', '/sortBy', '/orderBy']
  }
  for (const [query, paths] of Object.entries(cases)) {
    const { details } = await expectError(t, await fetch(`${url}/vital-data?${query}`), 400, 'VITAL_INVALID_QUERY')
    t.strictSame((details as Array<{ path: string }>).map((fault) => fault.path), paths, query)
  }
  const twice = await expectError(t, await fetch(`${url}/vital-data?count=5&count=5`), 400, 'VITAL_INVALID_QUERY')
  t.strictSame(twice.details, [{ path: '/count', message: 'must be given once' }])
  const both = await expectError(t, await fetch(`${url}/vital-data?cursor=a&offset=1&silentFor=5y`), 400, 'VITAL_INVALID_QUERY')
  t.strictSame(both.details, [
    { path: '/cursor', message: 'must not be given together with offset' },
    { path: '/silentFor', message: 'must be whole seconds such as 300, or a time such as 90s, 5m, 2h or 1d' }
  ])

  const many = Array.from({ length: 500 }, (_, i) => `n${i}=1`).join('&')
  const { details } = await expectError(t, await fetch(`${url}/vital-data?${many}`), 400, 'VITAL_INVALID_QUERY')
  t.equal((details as unknown[]).length, 100, 'the list of faults is bounded')
})

t.test('finds one device by its decoded name', async (t) => {
  const asked: string[] = []
  const { url } = await startHttpServer(t, {
    reads: {
      listLatest: () => Promise.resolve('{"total":0,"resources":[]}'),
      findLatest: (device) => {
        asked.push(device)
        return Promise.resolve(device === 'unknown' ? undefined : JSON.stringify({ ...RESOURCE, deviceId: device }))
      }
    }
  })
  const devices = [
    'band-1', 'a b', 'bett 7 ä', '50%', '%41', '日'.repeat(128), '😀'.repeat(128), 'a?b', 'a&b=c;d', 'hasOwnProperty', '.well-known', '"\'<>'
  ]
  for (const device of devices) {
    const response = await fetch(`${url}/vital-data/${encodeURIComponent(device)}`)
    t.equal(response.status, 200, device)
    t.strictSame(await response.json(), { ...RESOURCE, deviceId: device })
  }
  t.strictSame(asked, devices)
  await expectError(t, await fetch(`${url}/vital-data/unknown`), 404, 'VITAL_DEVICE_NOT_FOUND')
})

t.test('refuses invalid ids', async (t) => {
  const { url } = await startHttpServer(t)
  const ids = [
    'a/b', 'a+b', 'a#b', '$SYS', 'a\u0000b', 'a\nb', '\u007f', '__proto__', 'constructor', 'prototype', 'x'.repeat(129), 'x'.repeat(5000)
  ]
  for (const id of ids) {
    const { details } = await expectError(t, await fetch(`${url}/vital-data/${encodeURIComponent(id)}`), 400, 'VITAL_INVALID_DEVICE')
    t.match(details, exactly({ path: '/device', message: String }))
  }
  await expectError(t, await fetch(`${url}/vital-data/%FF`), 400, 'VITAL_BAD_REQUEST')
  await expectError(t, await fetch(`${url}/vital-data/%zz`), 400, 'VITAL_BAD_REQUEST')
})

t.test('a read while PostgreSQL is away is answered 503, without internal details', async (t) => {
  const away = () => Promise.reject(Object.assign(new Error('connect ECONNREFUSED 10.0.0.7:5432'), { code: 'ECONNREFUSED' }))
  const { url, logs } = await startHttpServer(t, { reads: { listLatest: away, findLatest: away } })
  for (const path of ['/vital-data', '/vital-data/band-1']) {
    const response = await fetch(url + path)
    const body = await expectError(t, response, 503, 'VITAL_DATABASE_UNAVAILABLE')
    t.match(response.headers.get('retry-after'), /^[1-9]\d*$/)
    t.notMatch(JSON.stringify(body), /ECONNREFUSED|10\.0\.0\.7/)
  }
  t.equal(logs.filter((line) => (line['level'] as number) === 40).length, 2, 'each logged once')
})

t.test('a bug in a read is 500', async (t) => {
  const bug = () => Promise.reject(new TypeError('undefined is not a device'))
  const { url, logs } = await startHttpServer(t, { reads: { listLatest: bug, findLatest: bug } })
  await expectError(t, await fetch(`${url}/vital-data`), 500, 'VITAL_INTERNAL')
  t.equal(logs.filter((line) => (line['level'] as number) === 50).length, 1)
})
