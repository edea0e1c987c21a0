import { get, type IncomingMessage } from 'node:http'
import { parse } from 'csv-parse/sync'
import t from 'tap'
import { bearer, openCredentials } from '../helpers/credentials.ts'
import { createDatabaseSwitch } from '../helpers/database-switch.ts'
import { exactly } from '../helpers/exactly.ts'
import { startGateway } from '../helpers/gateway.ts'
import { expectError, post } from '../helpers/http-server.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'

interface Page {
  readonly deviceId: string
  readonly resources: ReadonlyArray<Record<string, unknown>>
  readonly next: string | null
}

const getPage = async (url: string) => await (await fetch(url)).json() as Page

/** Reads every page. */
async function walk (url: string): Promise<Page['resources']> {
  const resources: Array<Record<string, unknown>> = []
  for (let cursor: string | null = ''; cursor !== null;) {
    const page: Page = await getPage(`${url}${cursor === '' ? '' : `&cursor=${cursor}`}`)
    resources.push(...page.resources)
    cursor = page.next
  }
  return resources
}

type Query = (text: string, values?: unknown[]) => Promise<unknown>

const HEART_RATES = 'jsonb_build_object(\'heartRateValue\', 60 + s % 10)'

/** Stores readings as a gateway of the previous version would: without roll-ups. */
async function fill (query: Query, device: string, times: string, vitals = HEART_RATES): Promise<void> {
  await query(`
    insert into readings select $1, time, gen_random_uuid(), ${vitals}, now() from (${times}) times (s, time)`, [device])
  await query(`
    insert into latest (device, time, oldest_time, vitals, vital_times) values ($1, now(), now(), '{}', '{}')`, [device])
  await query('update rollup_state set built_from = closed_before')
}

/** A reading a second from 2025 on. */
const seconds = (count: number) =>
  `select s, timestamptz '2025-01-01 00:00:00Z' + s * interval '1 second' from generate_series(0, ${count} - 1) s`

t.test('posted readings come back newest first, by pages, in every format', async (t) => {
  const { httpUrl } = await startGateway(t)
  const readings = [
    { device: 'band ü', timestamp: 1735689600.123456, heartRateValue: 71, 'a,"b': [1, null] },
    { device: 'band ü', timestamp: 1735689601, temperatureValue: 36.6, spo2Value: 97 },
    { device: 'band ü', timestamp: 1735689601, temperatureValue: 36.7 },
    { device: 'other', timestamp: 1735689600, heartRateValue: 1 }
  ]
  t.equal((await post(httpUrl, JSON.stringify(readings))).status, 202)
  const url = `${httpUrl}/vital-data/${encodeURIComponent('band ü')}/history`
  const response = await fetch(url)
  t.equal(response.headers.get('content-type'), 'application/json; charset=utf-8')
  t.equal(response.headers.get('cache-control'), 'no-store')
  const page = await response.json() as Page
  t.match(page, { deviceId: 'band ü', next: null })
  t.match(page.resources.at(-1), { timestamp: 1735689600.123456, vitals: { heartRateValue: 71, 'a,"b': exactly(1, null) } })
  t.ok(Math.abs(Number(page.resources[0]!['receivedAt']) - Date.now() / 1000) < 60)
  t.same(Object.keys(page.resources[0]!), ['timestamp', 'vitals', 'receivedAt'])
  for (const order of ['asc', 'desc']) {
    const all = order === 'asc' ? page.resources.toReversed() : page.resources
    t.same(await walk(`${url}?order=${order}&count=1`), all, `one at a time, ${order}: two readings of one instant are separate`)
  }
  const lines = (await (await fetch(url, { headers: { accept: 'application/x-ndjson' } })).text()).trimEnd().split('\n')
  t.same(lines.map((line) => JSON.parse(line) as unknown), page.resources)
  const csv = await fetch(`${url}?format=csv&order=asc`)
  t.match(csv.headers.get('content-type'), /^text\/csv/)
  t.match(csv.headers.get('vary'), /accept/i)
  const rows = parse(await csv.text(), { columns: true })
  t.match(rows, exactly(
    { timestamp: '1735689600.123456', heartRateValue: '71', temperatureValue: '', spo2Value: '' },
    { timestamp: '1735689601', temperatureValue: /^36\.[67]$/ }, { timestamp: '1735689601' }
  ))
  t.same(Object.keys(rows[0] as object).filter((name) => name.includes('"')), [], 'unknown fields are in JSON only')
})

t.test('a range includes its first instant and excludes its last', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const { httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  await fill(query, 'a', seconds(600))
  const url = `${httpUrl}/vital-data/a/history`
  const from = 1735689600
  t.equal((await walk(`${url}?from=${from + 10}&to=${from + 20}&count=3`)).length, 10)
  t.equal((await walk(`${url}?from=2025-01-01T00:00:10Z&to=2025-01-01T01:00:20%2B01:00`)).length, 10)
  t.equal((await walk(`${url}?from=2025-01-01T00:00:10.5Z&to=2025-01-01T01:00:20+01:00`)).length, 9, '+ unescaped')
  t.equal((await walk(`${url}?from=2025-01-01&to=2025-01-02`)).length, 600)
  t.equal((await walk(`${url}?every=1m`)).length, 10)
  const [edge] = await walk(`${url}?every=5m&from=${from + 290}&to=${from + 301}&order=asc`)
  t.match(edge, { from, to: from + 300, count: 10 }, 'buckets are cut at the edges, like readings')
  t.same((await getPage(`${url}?from=${from + 700}`)).resources, [])
  const buckets = await walk(`${url}?every=5m&count=1`)
  t.match(buckets, exactly(
    {
      from: from + 300,
      to: from + 600,
      count: 300,
      vitals: { heartRateValue: { count: 300, min: 60, max: 69, mean: 64.5, first: 60, last: 69 } }
    },
    { from, to: from + 300, count: 300 }
  ))
  t.same(await walk(`${url}?every=5m&count=1&order=asc`), buckets.toReversed())
  const csv = await (await fetch(`${url}?every=1h&format=csv`)).text()
  t.equal(csv, `from,vital,count,min,max,mean,first,last\r\n${from},heartRateValue,600,60,69,64.5,60,69\r\n`)
})

t.test('pages of buckets pass gaps of years, and buckets of every size agree', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const { httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  await fill(query, 'a', `select row_number() over (), time from unnest('{1975-06-01Z, 2019-03-31 00:59:00Z, 2019-03-31 01:01:00Z,
    2025-01-01Z}'::timestamptz[]) time`)
  const url = `${httpUrl}/vital-data/a/history`
  for (const every of ['1m', '5m', '15m', '1h', '1d']) {
    for (const order of ['asc', 'desc']) {
      const buckets = await walk(`${url}?every=${every}&order=${order}&count=1`)
      t.equal(buckets.reduce((sum, { count }) => sum + Number(count), 0), 4, `${every} ${order}`)
      t.equal(buckets.length, every === '1d' ? 3 : 4)
    }
  }
  const days = await walk(`${url}?every=1d&tz=America/New_York&count=2&order=asc`)
  t.same(days.map(({ from }) => new Date(Number(from) * 1000).toISOString()),
    ['1975-05-31T04:00:00.000Z', '2019-03-30T04:00:00.000Z', '2024-12-31T05:00:00.000Z'])
})

t.test('a wrong query is answered with the name of each parameter', async (t) => {
  const { httpUrl } = await startGateway(t)
  await post(httpUrl, '{"device":"a","timestamp":1735689600}')
  const url = `${httpUrl}/vital-data/a/history`
  const cursor = (await getPage(`${url}?count=1`)).next
  t.equal(cursor, null)
  const cases: Readonly<Record<string, string[]>> = {
    'from=abc': ['/from'],
    'from=1735689600000': ['/from'],
    'from=2025-13-01': ['/from'],
    'from=2025-01-01T00:00:00': ['/from'],
    'from=2&to=1': ['/to'],
    'count=1001': ['/count'],
    'count=0': ['/count'],
    'count=5.9': ['/count'],
    'every=2h': ['/every'],
    'tz=UTC': ['/tz'],
    'every=1h&tz=Europe/Berlin': ['/tz'],
    'every=1d&tz=Mars/Olympus': ['/tz'],
    'every=1d&tz=%2B02:00': ['/tz'],
    'order=up': ['/order'],
    'format=xml': ['/format'],
    'cursor=zz': ['/cursor'],
    'from=x&to=y&cursor=z': ['/from', '/to', '/cursor'],
    'unknown=1': ['/unknown'],
    'every=2h&tz=x': ['/every', '/tz'],
    'every=2h&tz=UTC': ['/every'],
    'count=0&from=x&to=y&cursor=z&unknown=1': ['/unknown', '/count', '/from', '/to', '/cursor'],
    'from=1&from=2&to=x': ['/from', '/to'],
    'format=xml&count=1001': ['/format'],
    'order=up&cursor=z': ['/order', '/cursor'],
    'from=1&from=2': ['/from']
  }
  for (const [text, paths] of Object.entries(cases)) {
    const { details } = await expectError(t, await fetch(`${url}?${text}`), 400, 'VITAL_INVALID_QUERY')
    t.same((details as Array<{ path: string }>).map(({ path }) => path), paths, text)
  }
  t.equal((await fetch(`${url}?count=1001&format=csv`)).status, 200)
  await expectError(t, await fetch(`${httpUrl}/vital-data/nobody/history`), 404, 'VITAL_DEVICE_NOT_FOUND')
  await expectError(t, await fetch(`${httpUrl}/vital-data/nobody/history?every=1d`), 404, 'VITAL_DEVICE_NOT_FOUND')
  await expectError(t, await fetch(`${httpUrl}/vital-data/a%23/history`), 400, 'VITAL_INVALID_DEVICE')
  await expectError(t, await fetch(url, { method: 'POST' }), 405, 'VITAL_METHOD_NOT_ALLOWED')
})

t.test('a cursor of another query is refused', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const { httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  await fill(query, 'a', seconds(600))
  const url = `${httpUrl}/vital-data/a/history`
  const { next } = await getPage(`${url}?count=1`)
  for (const text of ['order=asc', 'every=5m', 'every=1h&order=asc']) {
    await expectError(t, await fetch(`${url}?${text}&cursor=${next}`), 400, 'VITAL_INVALID_QUERY')
  }
  const buckets = await getPage(`${url}?every=5m&count=1`)
  await expectError(t, await fetch(`${url}?every=1m&cursor=${buckets.next}`), 400, 'VITAL_INVALID_QUERY')
})

t.test('a device reads its own history and no other\'s; applications and operators read all', async (t) => {
  const { httpUrl, connectionString } = await startGateway(t)
  const { add } = openCredentials(t, connectionString)
  const [own, other, application] = [await add('a', 'device'), await add('b', 'device'), await add('app', 'application')]
  await until(async () => (await fetch(`${httpUrl}/vital-data`)).status === 401)
  t.equal((await post(httpUrl, '{"device":"a","timestamp":1735689600}', bearer(own))).status, 202)
  const read = async (secret: string) => (await fetch(`${httpUrl}/vital-data/a/history`, { headers: bearer(secret) })).status
  t.same([await read(own), await read(other), await read(application)], [200, 403, 200])
  t.equal((await fetch(`${httpUrl}/vital-data/a/history`)).status, 401)
})

t.test('a download that loses PostgreSQL never looks complete', async (t) => {
  const { connectionString, query, off, on } = await createDatabaseSwitch(t)
  const { httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  await fill(query, 'small', seconds(60_000))
  await fill(query, 'large', seconds(1000), 'jsonb_build_object(\'text\', repeat(gen_random_uuid()::text, 100))')
  for (const path of ['small/history?format=csv', 'small/history?format=ndjson', 'large/history?count=1000']) {
    const response = await new Promise<IncomingMessage>((resolve) => { get(`${httpUrl}/vital-data/${path}`, resolve) })
    t.equal(response.statusCode, 200, path)
    await off()
    await t.rejects(async () => { for await (const chunk of response) t.ok(chunk) }, { code: 'ECONNRESET' }, 'cut')
    t.notOk(response.complete, 'without its last chunk')
    await on()
    await until(async () => (await fetch(`${httpUrl}/vital-data/small/history?count=1`)).status === 200)
  }
})

t.test('sixty thousand readings are streamed completely, each once', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const { httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  await fill(query, 'a', seconds(60_000))
  const text = await (await fetch(`${httpUrl}/vital-data/a/history?format=csv&order=asc`)).text()
  const times = text.trimEnd().split('\r\n').slice(1).map((line) => Number(line.split(',', 1)[0]))
  t.equal(times.length, 60_000)
  t.ok(times.every((time, at) => time === 1735689600 + at))
})

t.test('twenty downloads that are aborted leave no query behind, and the next read is answered', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const { httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  await fill(query, 'a', seconds(60_000))
  for (let round = 0; round < 20; round++) {
    const controller = new AbortController()
    const response = await fetch(`${httpUrl}/vital-data/a/history?format=ndjson`, { signal: controller.signal }).catch(() => null)
    if (response?.status === 200) await response.body!.getReader().read()
    controller.abort()
  }
  await until(async () => {
    const rows = await query(`select from pg_stat_activity where datname = current_database() and application_name like 'vital-gateway%'
      and query like '%receivedAtUs%' and state <> 'idle'`)
    return rows.length === 0
  })
  await until(async () => (await fetch(`${httpUrl}/vital-data/a/history?count=1`)).status === 200)
  t.pass('and nothing hangs')
})
