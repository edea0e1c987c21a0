import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { compare } from '../../../../scripts/chaos/streams/compare.ts'
import { LAKE_FOLDER, POINTS_FILE, STORED_FILE } from '../../../../scripts/chaos/streams/gather.ts'
import { findFaults } from '../../../../scripts/chaos/streams/judge-streams.ts'
import { loadDuckDb } from '../../../../src/lake/load-packages.ts'
import { exactly } from '../../../helpers/exactly.ts'
import { createTestDir } from '../../../helpers/postgres.ts'

/** The second and the third one share device, microsecond and digits. */
const STORED = ['a,1750000000000001,7,0,61.5,,,', 'a,1750000000000002,8,1,62.5,12,,', 'a,1750000000000002,8,2,63.5,,,36.61']
const ROWS = ["('a', 1750000000000001, 'i0', 0, 61.5, null, null)", "('a', 1750000000000002, 'i1', 1, 62.5, 12, null)",
  "('a', 1750000000000002, 'i2', 2, 63.5, null, 36.61)"]
const POINTS = ['a,3,1750000000000001007,0,61.5,,,', 'a,3,1750000000000002008,2,63.5,12,,36.61']

async function find (t: Test, given: { rows?: readonly string[], points?: readonly string[], mayMove?: boolean }) {
  const { rows = ROWS, points = POINTS, mayMove = false } = given
  const dir = await createTestDir(t)
  await writeFile(join(dir, STORED_FILE), STORED.map((line) => `${line}\n`).join(''))
  await writeFile(join(dir, POINTS_FILE), points.map((line) => `${line}\n`).join(''))
  const folder = join(dir, LAKE_FOLDER, 'day=2025-06-15', 'hour=15')
  await mkdir(folder, { recursive: true })
  const { DuckDBInstance } = await loadDuckDb()
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  await connection.run(`copy (
    select device, make_timestamptz(us) as "time", id, heart::double as "heartRateValue", breath::double as "breathRateValue",
      null::double as "breathValue", temperature::double as "temperatureValue", format('{{"n":{},"note":1}}', n) as "otherVitals"
    from (values ${rows.join(', ')}) given (device, us, id, n, heart, breath, temperature)
  ) to '${join(folder, 't-3-0.parquet')}' (format parquet)`)
  connection.closeSync()
  instance.closeSync()
  const found = await compare(dir, { lake: true, points: true })
  return { found, faults: findFaults(found, mayMove) }
}

t.test('log, lake and database agree: a reading may be in the log twice, and two readings may be one point', async (t) => {
  const { found, faults } = await find(t, { rows: [...ROWS, ROWS[0]!] })
  t.strictSame(faults, [])
  t.match(found, { stored: 3, lake: { rows: 4, ids: 3 }, points: { points: 2, collisions: 1, again: 0 } })
})

t.test('a lake that lacks a reading or holds an unknown one is found', async (t) => {
  t.match((await find(t, { rows: ROWS.slice(1) })).faults,
    exactly(/^readings that the lake lacks: 1, such as a,1750000000000001,0,61.5/, /2 ids for 3/))
  const altered = [ROWS[0]!.replace('61.5', '61.6'), ...ROWS.slice(1)]
  t.match((await find(t, { rows: altered })).faults,
    exactly(/that the lake lacks: 1/, /of the lake that PostgreSQL lacks: 1, such as a,.*61.6/))
  t.match((await find(t, { rows: [...ROWS, ROWS[0]!.replace('i0', 'other')] })).faults, exactly(/the lake has 4 ids for 3 readings/))
})

t.test('points that are missing, unknown, different or duplicated are found', async (t) => {
  t.match((await find(t, { points: POINTS.slice(1) })).faults, exactly(/^readings that InfluxDB lacks: 1, such as a,1750000000000001,7/))
  t.match((await find(t, { points: [...POINTS, 'a,3,1750000000000001008,0,61.5,,,'] })).faults,
    exactly(/^points of InfluxDB that PostgreSQL lacks: 1/))
  t.match((await find(t, { points: [POINTS[0]!.replace('61.5', '61.6'), POINTS[1]!] })).faults,
    exactly(/^points of InfluxDB with other numbers: 1/))
  const again = [...POINTS, POINTS[0]!.replace(',3,', ',5,')]
  t.match((await find(t, { points: again })).faults, exactly(/there twice: 1/))
  t.strictSame((await find(t, { points: again, mayMove: true })).faults, [], 'partitions were added')
})
