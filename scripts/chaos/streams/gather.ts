/** Copies the readings of PostgreSQL, a lake and InfluxDB into files of one folder, for DuckDB. */
import { appendFile, mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Query } from '../../harness/checks/stored.ts'
import { connectStore, type StoreSettings } from '../../harness/seaweedfs.ts'

const ANSWER_TIMEOUT_MS = 120_000

/** Fields of readings that all three hold as numbers, beside `n`. */
export const FIELDS = ['heartRateValue', 'breathRateValue', 'breathValue', 'temperatureValue'] as const

export const STORED_FILE = 'stored.csv'
export const POINTS_FILE = 'points.csv'
export const LAKE_FOLDER = 'lake'

/** Lines of device, Unix microseconds, the three digits that InfluxDB's time ends in, n and {@link FIELDS}. */
export async function gatherStored (query: Query, dir: string, devices: readonly string[]): Promise<void> {
  const path = join(dir, STORED_FILE)
  await writeFile(path, '')
  const fields = ['n', ...FIELDS].map((name) => `coalesce(vitals->>'${name}', '')`).join(', ')
  for (const device of devices) {
    const rows = await query<{ line: string }>(
      `select concat_ws(',', device, (extract(epoch from time) * 1000000)::bigint,
         ('x' || left(hash::text, 6))::bit(24)::int % 1000, ${fields}) as line from readings where device = $1`, [device])
    await appendFile(path, rows.map(({ line }) => `${line}\n`).join(''))
  }
}

/** Lines of device, partition, Unix nanoseconds, n and {@link FIELDS}. */
export async function gatherPoints (url: string, dir: string, devices: readonly string[]): Promise<void> {
  const path = join(dir, POINTS_FILE)
  await writeFile(path, '')
  const begin = 'vital,logPartition='
  const fields = ['n', ...FIELDS].map((name) => `"${name}"`).join(', ')
  for (const device of devices) {
    const q = `select ${fields} from vital where device = '${device}' group by "logPartition"`
    const response = await fetch(`${url}/query?${new URLSearchParams({ db: 'vital', epoch: 'ns', q })}`, {
      headers: { accept: 'application/csv' }, signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS)
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`InfluxDB answered ${response.status}: ${text.slice(0, 200)}`)
    // A line of column names stands before each series.
    const lines = text.split('\n').filter((line) => line.startsWith(begin))
    await appendFile(path, lines.map((line) => `${device},${line.slice(begin.length)}\n`).join(''))
  }
}

/** @returns how many files of Parquet the lake has */
export async function gatherLake (store: StoreSettings, prefix: string, dir: string): Promise<number> {
  const { library, client } = await connectStore(store)
  const folder = join(dir, LAKE_FOLDER)
  await mkdir(folder)
  let files = 0
  try {
    const listed = library.paginateListObjectsV2({ client }, { Bucket: store.bucket, Prefix: `${prefix}day=` })
    for await (const { Contents: found = [] } of listed) {
      for (const { Key } of found) {
        const { Body } = await client.send(new library.GetObjectCommand({ Bucket: store.bucket, Key }))
        const path = join(folder, Key!.slice(prefix.length))
        await mkdir(dirname(path), { recursive: true })
        await writeFile(path, await Body!.transformToByteArray())
        files++
      }
    }
  } finally {
    client.destroy()
  }
  return files
}
