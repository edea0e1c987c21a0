import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createDatabase } from '../../db/database.ts'
import { claimOffset } from '../../db/queries/claim-offset.ts'
import type { ReadingRow } from '../../db/rows.ts'
import { createStore, type Store } from '../../db/store.ts'
import { toReplayed } from '../../src/ingest/journal/replay-set.ts'
import { toReadingRow } from '../../src/ingest/reading-row.ts'
import { createOffsetWriter } from '../../src/sink/offset-writer.ts'
import { createTestDatabase } from '../helpers/postgres.ts'

const PLACE = { consumerGroup: 'vital-sink', topicId: '00112233-4455-6677-8899-aabbccddeeff', partition: 0 }
const logger = pino({ level: 'silent' })

async function createWriter (t: Test, wrap: (write: Store['write']) => Store['write'] = (write) => write) {
  const { connectionString, query } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 2, logger })
  t.teardown(() => database.close())
  await query('alter table readings add constraint no_wonders check (not vitals ? \'wonder\')')
  const claim = await claimOffset(database.kysely, PLACE, { topic: 'vital.readings', owner: 'a' })
  const writer = createOffsetWriter({
    store: { write: wrap(createStore(database).write) }, refusedLetters: { async keep () { throw new Error('none') } }, logger
  })
  const offset = async () => (await query<{ n: number }>('select next_offset::int as n from sink_offsets'))[0]!.n
  const stored = async (table = 'readings') => (await query<{ n: number }>(`select count(*)::int as n from ${table}`))[0]!.n
  return {
    query,
    offset,
    stored,
    write: (rows: readonly ReadingRow[]) => {
      const submission = toReplayed({ transport: 'mqtt', clientId: null, readings: rows, letters: [] })
      return writer.write(rows.length === 0 ? [] : [submission], [{ from: claim, to: { ...claim, nextOffset: rows.length + 1 } }])
    }
  }
}

const row = (timestamp: number, fields: Record<string, unknown> = {}) => toReadingRow({ timestamp, ...fields }, 'd', 1_750_240_900_000)
const ROWS = [row(1), row(2), row(3, { wonder: 1 }), row(4)]

t.test('a batch that is split moves its offset behind its last part', async (t) => {
  const { write, offset, stored } = await createWriter(t)
  await write(ROWS)
  t.same([await offset(), await stored(), await stored('dead_letters')], [5, 3, 1])
  await write([])
  t.equal(await offset(), 5, 'an offset without rows is written, too, and never moves back')
})

t.test('a batch of one refused row moves the offset', async (t) => {
  const { write, offset, stored } = await createWriter(t)
  await write([ROWS[2]!])
  t.same([await offset(), await stored(), await stored('dead_letters')], [2, 0, 1])
})

for (let part = 2; part <= 7; part++) {
  t.test(`PostgreSQL goes away at part ${part} of a split batch: the offset stays, and the batch is written completely ` +
    'the next time', async (t) => {
    let parts = 0
    const { write, offset, stored } = await createWriter(t, (write) => async (...args) => {
      if (++parts === part) throw new Error('away')
      return await write(...args)
    })
    const isSplit = await write(ROWS).then(() => false, () => true)
    t.equal(await offset(), isSplit ? 0 : 5)
    await write(ROWS)
    t.same([await offset(), await stored(), await stored('dead_letters')], [5, 3, 1])
  })
}

t.test('another sink claims the partition between two parts: the others are refused', async (t) => {
  let parts = 0
  const { write, offset, stored, query } = await createWriter(t, (write) => async (...args) => {
    if (++parts === 4) await query('update sink_offsets set epoch = epoch + 1')
    return await write(...args)
  })
  await t.rejects(write(ROWS), { code: 'VS001' })
  t.same([await offset(), await stored(), await stored('dead_letters')], [0, 2, 0])
})
