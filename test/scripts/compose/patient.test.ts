/** The patient dashboard: its SQL, run as the role of Grafana, gives the same values as `GET /vital-data/{device}/history`. */
import pg from 'pg'
import t from 'tap'
import { BUCKET_SECONDS, type BucketName } from '../../../schemas/history.ts'
import { VITAL_SIGNS, type VitalSign } from '../../../schemas/reading.ts'
import { exactly } from '../../helpers/exactly.ts'
import { connectClient, startGateway } from '../../helpers/gateway.ts'
import { until } from '../../helpers/until.ts'
import { expandSql, patient, queriesOf } from './dashboards.ts'
import { connectPostgres, createComposeDatabase } from './roles.ts'

const HOUR_S = 3600
const DEVICE = "o'brien \\ 100%"

/** Titles of the panels, and the vital signs of their queries. */
const SIGNS: Readonly<Record<string, readonly VitalSign[]>> = {
  'Heart rate': ['heartRateValue'],
  'Pulse rate': ['pulseRateValue'],
  'Breathing rate': ['breathRateValue', 'breathValue'],
  'Oxygen saturation': ['spo2Value'],
  'Blood pressure': ['bloodPressureSystolic', 'bloodPressureDiastolic'],
  Temperature: ['temperatureValue']
}

const signQueries = Object.entries(SIGNS).flatMap(([title, signs]) => {
  const queries = queriesOf('rawSql', patient).filter((query) => query.title === title)
  return signs.map((sign, index) => ({ sign, query: queries[index]?.query ?? '' }))
})

interface Summary { readonly mean: number, readonly min: number, readonly max: number }

/** A query of the history and its answer. */
interface Answer {
  readonly every: BucketName
  readonly bucketS: number
  readonly fromS: number
  readonly toS: number
  readonly resources: ReadonlyArray<{ readonly from: number, readonly vitals: Partial<Record<VitalSign, Summary>> }>
}

/** Multiples of a half, whose means have few digits. */
const toFields = (n: number, names: readonly VitalSign[] = VITAL_SIGNS) =>
  Object.fromEntries(names.map((name, index) => [name, 30 + index * 10 + n * 7 % 23 / 2]))

t.test('every vital sign has its query, and the queries differ only in their columns', (t) => {
  t.same(signQueries.map(({ sign }) => sign).sort(), [...VITAL_SIGNS].sort())
  const columns = new Map<VitalSign, string>(VITAL_SIGNS.map((sign) =>
    [sign, sign.replace(/Value$/, '').replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)]))
  const bare = signQueries.map(({ sign, query }) => query
    .replaceAll(new RegExp(`'${sign}'`, 'g'), 'FIELD')
    .replaceAll(new RegExp(`\\b${columns.get(sign)}_(?=count|sum|min|max)`, 'g'), 'COLUMN_')
    .replaceAll(/"[^"]+"/g, (name) => name.replace(/^"(?:.*?)( lowest| highest|)"$/, 'LABEL$1')))
  for (const query of bare) t.equal(query, bare[0])
  t.match(bare[0], /COLUMN_count[^]*FIELD[^]*LABEL lowest/)
  t.end()
})

t.test('each range shows the values of the history', { timeout: 120_000 }, async (t) => {
  const { gatewayUrl, grafanaUrl } = await createComposeDatabase(t)
  const { httpUrl, stop } = await startGateway(t, { DATABASE_URL: gatewayUrl })
  const post = async (readings: object[]) => {
    const answer = await fetch(`${httpUrl}/vital-data`, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(readings)
    })
    t.equal(answer.status, 202, await answer.text())
  }
  const nowS = Math.floor(Date.now() / 1000)
  // Two days with pauses, then the last hours by the minute up to now, where there are no averages yet.
  const olderS = Array.from({ length: 300 }, (_, n) => nowS - 50 * HOUR_S + n * 600 + n % 7)
  const newerS = Array.from({ length: 181 }, (_, n) => nowS - 3 * HOUR_S + n * 60)
  const times = [...new Set([...olderS.filter((_, n) => n % 50 < 40), ...newerS])]
  for (let from = 0; from < times.length; from += 100) {
    await post(times.slice(from, from + 100).map((timestamp, n) => ({ device: DEVICE, timestamp, ...toFields(from + n) })))
  }
  await post([{ device: 'stranger', timestamp: nowS - 120, ...toFields(1) }])
  const grafana = await connectPostgres(t, grafanaUrl)
  const vital = await connectPostgres(t, gatewayUrl)
  const isTrue = async (condition: string) => (await vital(`select (${condition}) as holds`))[0]?.['holds'] === true
  await until(() => isTrue('select count(*) = 0 from rollup_late'), 'the averages of late readings to be computed', 60_000)
  t.ok(await isTrue('select count(*) > 200 from rollups_5m'))
  t.ok(await isTrue('select count(*) > 30 from rollups_1h'))
  t.ok(await isTrue('select exists (select from readings where time >= (select closed_before from rollup_state))'))

  const ask = async (every: BucketName): Promise<Answer> => {
    const bucketS = BUCKET_SECONDS[every]
    const fromS = Math.floor((nowS - (every === '1m' ? 5 : 60) * HOUR_S) / bucketS) * bucketS
    const toS = nowS + 60
    const query = new URLSearchParams({ from: String(fromS), to: String(toS), every, order: 'asc', count: '1000' })
    // On a busy machine a request may first be answered 503.
    let body = ''
    await until(async () => {
      const answer = await fetch(`${httpUrl}/vital-data/${encodeURIComponent(DEVICE)}/history?${query}`)
      body = await answer.text()
      return answer.ok
    }, 'history answers')
    const { resources, next } = JSON.parse(body) as { resources: Answer['resources'], next: unknown }
    t.equal(next, null)
    t.ok(resources.length >= 3, `${resources.length} buckets of ${every}`)
    return { every, bucketS, fromS, toS, resources }
  }
  const compare = async ({ every, bucketS, fromS, toS, resources }: Answer, when: string) => {
    for (const { sign, query } of signQueries) {
      const rows = await grafana(expandSql(query, { device: DEVICE, fromMs: fromS * 1000, toMs: toS * 1000, intervalMs: bucketS * 1000 }))
      const shown = rows.map((row) => Object.values(row) as [Date, number | null, number | null, number | null])
      t.same(shown.flatMap(([time, mean, min, max]) => mean === null ? [] : [[time.getTime() / 1000, mean, min, max]]),
        resources.flatMap(({ from, vitals: { [sign]: summary } }) =>
          summary === undefined ? [] : [[from, Math.round(summary.mean * 1e6) / 1e6, summary.min, summary.max]]),
        `${sign} by ${every} ${when}`)
      t.same(shown.map(([time]) => time), shown.map(([time]) => time).toSorted((a, b) => a.getTime() - b.getTime()), 'in order')
    }
  }
  const answers: Answer[] = []
  for (const every of Object.keys(BUCKET_SECONDS) as BucketName[]) answers.push(await ask(every))
  for (const answer of answers) await compare(answer, 'once averages are computed')

  // In a database of an older version averages are built backwards. Nothing builds them during this test.
  await stop()
  await vital("update rollup_state set built_from = date_trunc('day', now() - interval '1 day', 'UTC')")
  for (const answer of answers) await compare(answer, 'while they are built')
})

t.test('a line ends where nothing was measured', async (t) => {
  const { gatewayUrl, grafanaUrl } = await createComposeDatabase(t)
  const { httpUrl } = await startGateway(t, { DATABASE_URL: gatewayUrl })
  const nowS = Math.floor(Date.now() / 60_000) * 60
  const minutes = [30, 29, 28, 14, 13]
  await fetch(`${httpUrl}/vital-data`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(minutes.map((minute) => ({ device: 'a', timestamp: nowS - minute * 60, ...toFields(minute) })))
  })
  const grafana = await connectPostgres(t, grafanaUrl)
  for (const { sign, query } of signQueries) {
    const rows = await grafana(expandSql(query, { device: 'a' }))
    t.same(rows.map((row) => [Math.round(nowS - (row['time'] as Date).getTime() / 1000) / 60, Object.values(row)[1] === null]),
      [[30, false], [29, false], [28, false], [27, true], [14, false], [13, false]], sign)
  }
})

t.test('the other panels answer, and the device is found by typed text', async (t) => {
  const { gatewayUrl, grafanaUrl } = await createComposeDatabase(t)
  const { httpUrl, mqttPort } = await startGateway(t, { DATABASE_URL: gatewayUrl })
  const devices = ["o'brien", 'a_b', 'axb', 'a%b', 'a\\b', 'ward-1', 'ward-2']
  await fetch(`${httpUrl}/vital-data`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(devices.map((device) => ({ device, timestamp: 1e9, heartRateValue: 60, note: 'x' })))
  })
  const client = await connectClient(t, mqttPort)
  await client.publishAsync("vital/o'brien", '{"timestamp":1e9,"spo2Value":"high"}', { qos: 1 })
  const grafana = await connectPostgres(t, grafanaUrl)
  const panel = async (title: string, device: string) => {
    const { query = '' } = queriesOf('rawSql', patient).find((query) => query.title === title) ?? {}
    return await grafana(expandSql(query, { device }))
  }
  t.same(await panel('Last reading', "o'brien"), [{ last_reading: 1e12 }])
  t.match(await panel('Latest values', "o'brien"), exactly(
    { field: 'heartRateValue', value: '60', measured: new Date(1e12) }, { field: 'note', value: '"x"' }
  ))
  t.match(await panel('Refused', "o'brien"), exactly({ reason: 'invalid_reading', payload: /"spo2Value":"high"/ }))
  t.same(await panel('Refused', 'ward-1'), [])
  for (const { query } of queriesOf('rawSql', patient)) {
    for (const device of ["o'brien", "';select 1;--", '\\', '']) await t.resolves(grafana(expandSql(query, { device })))
  }

  const [variable] = patient.templating.list
  const offered = async (search: string) => (await grafana(expandSql(variable!.query, { search }))).map(({ device }) => device)
  t.same(await offered(''), [...devices].sort())
  t.same(await offered('ward'), ['ward-1', 'ward-2'])
  t.same(await offered("o'"), ["o'brien"])
  t.same(await offered('a_'), ['a_b'], 'an underscore stands for itself')
  t.same(await offered('a\\'), ['a\\b'])
  t.same(await offered('%-2'), ['ward-2'], 'a percent sign stands for any text')
  t.same(await offered("'; drop table latest; --"), [])
  t.match(JSON.stringify(await grafana(`explain ${expandSql(variable!.query, { search: 'ward-1' })}`)),
    /Index (?:Only )?Scan|Bitmap/, 'the search uses the key')
})

t.test('the role of Grafana may read the tables of the dashboards, for a bounded time, and nothing else', async (t) => {
  const { gatewayUrl, grafanaUrl } = await createComposeDatabase(t)
  await startGateway(t, { DATABASE_URL: gatewayUrl })
  const grafana = await connectPostgres(t, grafanaUrl)
  t.same(await grafana('show statement_timeout'), [{ statement_timeout: '10s' }])
  t.same(await grafana('show idle_in_transaction_session_timeout'), [{ idle_in_transaction_session_timeout: '10s' }])
  t.same(await grafana('select string_agg(table_name, \' \' order by table_name) as readable from information_schema.table_privileges ' +
    'where grantee = current_user'), [{ readable: 'dead_letters latest readings rollup_state rollups_1h rollups_5m' }])
  await t.rejects(grafana('select * from principals'), { code: '42501' })
  await t.rejects(grafana('delete from latest'), { code: '25006' })
  await grafana('set default_transaction_read_only = off')
  await t.rejects(grafana('delete from latest'), { code: '42501' })
  await t.rejects(grafana('create table mine ()'), { code: '42501' })
  for (let connection = 2; connection <= 20; connection++) await connectPostgres(t, grafanaUrl)
  const beyond = new pg.Client({ connectionString: grafanaUrl })
  await t.rejects(beyond.connect(), { code: '53300' })
})
