import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { readReadingRecord } from '../../src/kafka/reading-record.ts'
import { LAKE_LIMITS } from '../../src/lake/limits.ts'
import { loadDuckDb } from '../../src/lake/load-packages.ts'
import { createReadingsTable } from '../../src/lake/readings-table.ts'
import { createTestDir } from '../helpers/postgres.ts'
import { toRecord, toRow } from '../sink/rig.ts'

t.test('readings of a plan: each once, by hour, and none of an erased device', async (t) => {
  const dir = join(await createTestDir(t), 'lake')
  const table = await createReadingsTable({ library: await loadDuckDb(), dir, limits: LAKE_LIMITS })
  const add = (device: string, time: number, offset: number) => {
    const read = readReadingRecord(toRecord(toRow(device, time, { heartRateValue: time % 7, other: 'é' })))
    if (read.kind === 'read') table.add({ ...read.value, offset })
  }
  const path = join(dir, 'it\'s.parquet')
  const count = async (select: string) =>
    (await table.connection.runAndReadAll(`select ${select} from read_parquet('${path.replace('\'', '\'\'')}')`)).getRowsJson()
  await table.clear()
  t.same(await table.hours(), [])
  await table.clear()
  for (let n = 0; n < 5000; n++) add(n % 2 === 0 ? 'a' : 'b', n, n)
  add('a', 0, 5000)
  add('b', 7200, 5001)
  t.equal(table.rows, 5002)
  await table.forget('nobody')
  add('c', 1, 5002)
  t.same(await table.hours(), [0, 1, 2])
  t.equal(await table.writeHour(0, path), 3601)
  t.same(await count('count(*)::int, count(distinct id)::int, min("offset")::int, max("otherVitals")'), [[3601, 3601, 0, '{"other":"é"}']])
  await table.clear()
  for (let n = 0; n < 3000; n++) add(n % 2 === 0 ? 'a' : 'b', n, n)
  await table.forget('a')
  add('a', 1, 3000)
  t.same([...table.devices].sort(), ['a', 'b'])
  t.same(await table.hours(), [0])
  t.equal(await table.writeHour(0, path), 1501)
  t.same(await count('count(*) filter (device = \'a\')::int'), [[1]])
  t.equal(await table.writeHour(5, path), 0, 'an hour without readings still gets a file')
  t.same(await count('count(*)::int'), [[0]])
  await rm(path)
  await table.close()
})
