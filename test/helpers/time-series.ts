/** Time-series databases of a test's own, on loopback, ended with the test. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Test } from 'tap'
import { toInfluxDbConfig } from '../../scripts/harness/influxdb.ts'
import { type Engine, startEngine } from './engine.ts'
import { freePort } from './free-port.ts'
import { createTestDir } from './postgres.ts'

/** Means of a field over five minutes, by the Unix second at which the five minutes begin. */
export type Averages = ReadonlyMap<number, number>

/** The operations that tests use on each database. */
export interface TimeSeries extends Engine {
  readonly variables: Readonly<Record<string, string>>
  /** Ids of all devices, as an application reads them. */
  devices (): Promise<string[]>
  /** The number of points of a field. */
  count (field?: string, device?: string): Promise<number>
  averages (device: string, field: string, fromS: number, toS: number): Promise<Averages>
}

const { VITAL_TEST_QUESTDB_JARS: QUESTDB_JARS = '' } = process.env

/** Why tests are left out; `false` where they run. */
export const NO_INFLUXDB = isMissing('influxd', 'version') && 'InfluxDB 1 is not installed (apt-get install influxdb)'
export const NO_VICTORIAMETRICS = isMissing('victoria-metrics', '-version') &&
  'VictoriaMetrics is not installed (apt-get install victoria-metrics)'
export const NO_QUESTDB = !existsSync(QUESTDB_JARS) || !readdirSync(QUESTDB_JARS).some((name) => name.startsWith('questdb-'))
  ? 'VITAL_TEST_QUESTDB_JARS names no folder of QuestDB\'s jar (mvn -f test/fixtures/questdb/pom.xml dependency:copy-dependencies)'
  : isMissing('java', '-version') && 'Java is not installed (apt-get install openjdk-17-jre-headless)'

function isMissing (program: string, argument: string): boolean {
  return spawnSync(program, [argument]).error !== undefined
}

const toId = (tag: string) => decodeURIComponent(tag)

async function answer<Body> (url: string, query: Record<string, string>): Promise<Body> {
  const response = await fetch(`${url}?${new URLSearchParams(query)}`)
  const text = await response.text()
  if (!response.ok) throw new Error(`${response.status} ${text}`)
  return (text === '' ? {} : JSON.parse(text)) as Body
}

/** InfluxDB 1 with a database. @param data - lines below `[data]` of its configuration @param http - lines below `[http]` */
export async function startInfluxDb (t: Test, data = '', http = '') {
  const dir = await createTestDir(t)
  const [port, backupPort] = [await freePort(), await freePort()]
  const file = join(dir, 'influxdb.conf')
  const configure = (data: string) => writeFile(file, toInfluxDbConfig({ dir, port, backupPort, data, http }))
  await configure(data)
  const url = `http://127.0.0.1:${port}`
  const engine = await startEngine(t, ['influxd', '-config', file], `${url}/ping`)
  const query = async (q: string): Promise<unknown[][][]> => {
    const { results } = await answer<{ results: Array<{ series?: Array<{ values: unknown[][] }>, error?: string }> }>(
      `${url}/query`, { db: 'vital', epoch: 'ns', q })
    if (results[0]!.error !== undefined) throw new Error(results[0]!.error)
    return (results[0]!.series ?? []).map(({ values }) => values)
  }
  const command = async (q: string) => { await fetch(`${url}/query`, { method: 'POST', body: new URLSearchParams({ q }) }) }
  await command('create database vital')
  const where = (device?: string) => device === undefined ? '' : `where device = '${device.replaceAll(/['\\]/g, '\\$&')}'`
  return {
    ...engine,
    url,
    query,
    command,
    /** Starts it without bounds. */
    async raise () {
      await configure('')
      await engine.start()
    },
    variables: { VITAL_EXPORT_KIND: 'influxdb1', VITAL_EXPORT_URL: url },
    async devices () {
      return (await query('show tag values from vital with key = device')).flat().map(([, tag]) => toId(String(tag))).sort()
    },
    async count (field = 'heartRateValue', device?: string) {
      return Number((await query(`select count("${field}") from vital ${where(device)}`))[0]?.[0]?.[1] ?? 0)
    },
    async averages (device: string, field: string, fromS: number, toS: number) {
      const [rows = []] = await query(`select mean("${field}") from vital where device = '${device}' and time >= ${fromS}s ` +
        `and time < ${toS}s group by time(5m) fill(none)`)
      return new Map(rows.map(([time, mean]) => [Number(time) / 1e9, Number(mean)]))
    }
  } satisfies TimeSeries & Record<string, unknown>
}

/** VictoriaMetrics with a retention of a hundred years. @param flags - added, or replacing others */
export async function startVictoriaMetrics (t: Test, flags: readonly string[] = ['-retentionPeriod=100y', '-dedup.minScrapeInterval=1ms']) {
  const dir = await createTestDir(t)
  const url = `http://127.0.0.1:${await freePort()}`
  const engine = await startEngine(t, [
    'victoria-metrics', `-httpListenAddr=${url.slice('http://'.length)}`, `-storageDataPath=${join(dir, 'data')}`,
    '-search.latencyOffset=0s', '-search.disableCache', ...flags
  ], `${url}/health`)
  type Result = { data: { result: Array<{ metric: Record<string, string>, value: [number, string] }> } }
  const query = async (query: string, timeS: number) => {
    await fetch(`${url}/internal/force_flush`)
    return (await answer<Result>(`${url}/api/v1/query`, { query, time: String(timeS) })).data.result
  }
  const lines = async (match: string) => {
    await fetch(`${url}/internal/force_flush`)
    const text = await (await fetch(`${url}/api/v1/export?${new URLSearchParams({ 'match[]': match, start: '0' })}`)).text()
    return text.split('\n').filter((line) => line !== '')
      .map((line) => JSON.parse(line) as { metric: Record<string, string>, values: number[] })
  }
  return {
    ...engine,
    url,
    variables: { VITAL_EXPORT_KIND: 'victoriametrics', VITAL_EXPORT_URL: url },
    async devices () {
      const tags = (await lines('{__name__=~"vital_.*"}')).map(({ metric }) => toId(metric['device']!))
      return [...new Set(tags)].sort()
    },
    async count (field = 'heartRateValue', device?: string) {
      const of = device === undefined ? '' : `{device=${JSON.stringify(device)}}`
      return (await lines(`vital_${field}${of}`)).reduce((sum, { values }) => sum + values.length, 0)
    },
    async averages (device: string, field: string, fromS: number, toS: number) {
      const found = new Map<number, number>()
      for (let startS = fromS; startS < toS; startS += 300) {
        // (start - 1 ms, start + 300 s - 1 ms]
        const [row] = await query(`avg_over_time(vital_${field}{device=${JSON.stringify(device)}}[300s])`, startS + 299.999)
        if (row !== undefined) found.set(startS, Number(row.value[1]))
      }
      return found
    }
  } satisfies TimeSeries & Record<string, unknown>
}

/** QuestDB. */
export async function startQuestDb (t: Test) {
  const dir = await createTestDir(t)
  const port = await freePort()
  await mkdir(join(dir, 'conf'), { recursive: true })
  await writeFile(join(dir, 'conf/server.conf'), [
    `http.bind.to=127.0.0.1:${port}`, 'http.min.enabled=false', 'pg.enabled=false', 'line.tcp.enabled=false', 'telemetry.enabled=false',
    // Lets a test suspend a table.
    'dev.mode.enabled=true',
    'shared.worker.count=1', 'http.query.cache.enabled=false', 'cairo.wal.apply.parallel.sql.enabled=false'
  ].join('\n'))
  const url = `http://127.0.0.1:${port}`
  const jar = readdirSync(QUESTDB_JARS).find((name) => name.startsWith('questdb-'))!
  const engine = await startEngine(t, [
    'java', '-Xmx256m', '-XX:+UseSerialGC', '--add-exports', 'java.base/jdk.internal.math=io.questdb',
    '-p', resolve(QUESTDB_JARS, jar), '-m', 'io.questdb/io.questdb.ServerMain', '-d', dir
  ], `${url}/exec?query=select%201`)
  const query = async (query: string) => (await answer<{ dataset?: unknown[][] }>(`${url}/exec`, { query })).dataset ?? []
  const where = (device?: string) => device === undefined ? '' : `where device = '${device.replaceAll('\'', '\'\'')}'`
  return {
    ...engine,
    url,
    query,
    variables: { VITAL_EXPORT_KIND: 'questdb', VITAL_EXPORT_URL: url },
    async devices () {
      return (await query('select distinct device from vital')).map(([tag]) => toId(String(tag))).sort()
    },
    async count (field = 'heartRateValue', device?: string) {
      return Number((await query(`select count(${field}) from vital ${where(device)}`))[0]![0])
    },
    async averages (device: string, field: string, fromS: number, toS: number) {
      const rows = await query(`select timestamp, avg(${field}) from (select * from vital where device = '${device}' ` +
        `and timestamp >= cast(${fromS}000000 as timestamp) and timestamp < cast(${toS}000000 as timestamp)) ` +
        'sample by 5m align to calendar')
      return new Map(rows.map(([time, mean]) => [Date.parse(String(time)) / 1000, Number(mean)]))
    }
  } satisfies TimeSeries & Record<string, unknown>
}
