import { mkdir, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Test } from 'tap'
import { READINGS_TOPIC } from '../../src/kafka/records.ts'
import { createLake } from '../../src/lake.ts'
import { LAKE_LIMITS, type LakeLimits } from '../../src/lake/limits.ts'
import { loadDuckDb, loadS3 } from '../../src/lake/load-packages.ts'
import { createObjectStore } from '../../src/lake/object-store.ts'
import { createPlans } from '../../src/lake/plans.ts'
import { readV8Flags } from '../../scripts/harness/v8-flags.ts'
import { spawnGateway } from '../helpers/gateway-process.ts'
import { createTestDir, type TestDatabase } from '../helpers/postgres.ts'
import { startReader } from '../helpers/reader.ts'
import { startStore } from '../helpers/seaweedfs.ts'
import type { createSinkRig } from '../sink/rig.ts'

export type Rig = Awaited<ReturnType<typeof createSinkRig>>
type Query = TestDatabase['query']

/** A store for a file of tests, with a prefix for each test. */
export async function createLakeRig (t: Test) {
  const store = await startStore(t)
  Object.assign(process.env, store.variables)
  let tests = 0
  return {
    store,
    /** A lake of the test's own. */
    async createPlace (t: Test) {
      const prefix = `t${++tests}/`
      const objects = await createObjectStore({
        library: await loadS3(), location: { bucket: store.bucket, prefix }, limits: LAKE_LIMITS, signal: new AbortController().signal
      })
      t.teardown(() => { objects.close() })
      const plans = createPlans(objects)
      return { url: `s3://${store.bucket}/${prefix}`, objects, plans, read: (select: string) => readLake(t, objects, select) }
    }
  }
}

export type Place = Awaited<ReturnType<Awaited<ReturnType<typeof createLakeRig>>['createPlace']>>

/** The rows that DuckDB finds in the files of a lake. @param select - a query of the view `lake` */
async function readLake (t: Test, objects: Awaited<ReturnType<typeof createObjectStore>>, select: string): Promise<unknown[][]> {
  const dir = await createTestDir(t)
  let files = 0
  for await (const { key } of objects.list('day=')) {
    const path = join(dir, key)
    await mkdir(dirname(path), { recursive: true })
    await objects.download(key, path)
    files++
  }
  if (files === 0) return []
  const { DuckDBInstance } = await loadDuckDb()
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  try {
    await connection.run("set timezone = 'UTC'")
    await connection.run(`create view lake as select * from read_parquet('${dir}/**/*.parquet', hive_partitioning = true, filename = true)`)
    return (await connection.runAndReadAll(select)).getRowsJS() as unknown[][]
  } finally {
    connection.closeSync()
    instance.closeSync()
    await rm(dir, { recursive: true })
  }
}

/** The configuration of a lake. */
export const toVariables = (rig: Pick<Rig, 'kafka'>, { url }: Pick<Place, 'url'>, connectionString: string) => ({
  DATABASE_URL: connectionString,
  KAFKA_BROKERS: rig.kafka.brokers,
  VITAL_LAKE_URL: url,
  VITAL_LAKE_MAX_AGE_S: '1',
  VITAL_HTTP_PORT: '0'
})

/** A lake in this process, stopped with the test. */
export async function startLake (t: Test, given: Readonly<Record<string, string>>, limits: Partial<LakeLimits> = {}) {
  const { service: lake, ...rest } = await startReader(t, (options) => createLake({ ...options, limits }), given)
  return { lake, ...rest }
}

/** A lake, or a command of it, as a process of its own, to be killed. */
export const spawnLake = (t: Test, variables: Record<string, string>, args: readonly string[] = []) => spawnGateway(t, {
  AWS_ACCESS_KEY_ID: process.env['AWS_ACCESS_KEY_ID']!,
  AWS_SECRET_ACCESS_KEY: process.env['AWS_SECRET_ACCESS_KEY']!,
  AWS_ENDPOINT_URL_S3: process.env['AWS_ENDPOINT_URL_S3']!,
  ...variables
}, { program: 'scripts/vital-gateway.ts', args: ['lake', ...args], flags: readV8Flags() })

/** Whether lakes of a group have written all records of the log. */
export async function isWritten (rig: Pick<Rig, 'ends'>, query: Query, group = 'vital-lake'): Promise<boolean> {
  const stored = await query<{ partition: number, next: number }>(`
    select partition, next_offset::int as next from sink_offsets join (
      select topic_id from sink_offsets where topic = '${READINGS_TOPIC}' and consumer_group = '${group}' order by claimed_at desc limit 1
    ) last using (topic_id) where consumer_group = '${group}'`)
  const ends = await rig.ends()
  return stored.length === ends.length && stored.every(({ partition, next }) => next === ends[partition])
}
