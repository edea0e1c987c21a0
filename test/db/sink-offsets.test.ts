import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createDatabase } from '../../db/database.ts'
import { noteMarkers, registerLogErasure } from '../../db/erase/log-erasures.ts'
import { type Claim, claimOffset } from '../../db/queries/claim-offset.ts'
import { moveOffsetBack } from '../../db/queries/move-offset-back.ts'
import { toReplaced } from '../../db/queries/move-offsets.ts'
import { selectOffsets } from '../../db/queries/select-offsets.ts'
import { setOffset } from '../../db/queries/set-offset.ts'
import type { DeadLetterRow, ReadingRow } from '../../db/rows.ts'
import { createStore } from '../../db/store.ts'
import { toReadingRow } from '../../src/ingest/reading-row.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'

const TOPIC_ID = '00112233-4455-6677-8899-aabbccddeeff'
const RECEIVED_MS = 1_750_000_000_123

async function createSinks (t: Test) {
  const { connectionString, query } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 4, logger: pino({ level: 'silent' }) })
  t.teardown(() => database.close())
  const claim = (owner: string, partition = 0, topicId = TOPIC_ID) => claimOffset(
    database.kysely, { consumerGroup: 'vital-sink', topicId, partition }, { topic: 'vital.readings', owner })
  const offsets = async () => (await selectOffsets(database.kysely)).map(({ partition, nextOffset }) => [partition, nextOffset])
  const devices = async (table = 'readings') =>
    (await query<{ device: string }>(`select device from ${table} order by device`)).map(({ device }) => device)
  return { store: createStore(database), kysely: database.kysely, query, claim, offsets, devices }
}

const row = (device: string, timestamp = 1, fields: Record<string, unknown> = {}): ReadingRow =>
  toReadingRow({ timestamp, ...fields }, device, RECEIVED_MS)

const letter = (device: string): DeadLetterRow => ({
  id: randomUUID(),
  receivedAtMs: RECEIVED_MS,
  transport: 'mqtt',
  topic: null,
  clientId: null,
  device,
  reason: 'invalid_json',
  errors: [],
  payload: Buffer.from('x')
})

const upTo = (claim: Claim, nextOffset: number): Claim => ({ ...claim, nextOffset })

t.test('a partition starts at 0; each owner gets the next epoch, and continues at the stored offset of the one before', async (t) => {
  const { store, kysely, query, claim } = await createSinks(t)
  const first = await claim('a')
  t.strictSame(first, {
    consumerGroup: 'vital-sink', topicId: TOPIC_ID, partition: 0, epoch: 1, nextOffset: 0, leaderEpoch: null, seenMarker: 0
  })
  const past32Bits = 2 ** 40 + 3
  await store.write([row('a')], [], undefined, [upTo(first, past32Bits)])
  t.strictSame(await claim('b'), { ...first, epoch: 2, nextOffset: past32Bits })
  t.strictSame(await claim('b', 1), { ...first, partition: 1 }, 'another partition has its own')
  const other = randomUUID()
  t.strictSame(await claim('b', 0, other), { ...first, topicId: other }, 'and so has a topic of the same name')
  await claimOffset(kysely, { consumerGroup: 'copy', topicId: TOPIC_ID, partition: 0 }, { topic: 'vital.readings', owner: 'c' })
  t.strictSame((await selectOffsets(kysely)).map(({ consumerGroup, topicId, partition, nextOffset }) =>
    [consumerGroup, topicId === TOPIC_ID, partition, nextOffset]).sort(), [
    ['copy', true, 0, 0], ['vital-sink', false, 0, 0], ['vital-sink', true, 0, past32Bits], ['vital-sink', true, 1, 0]
  ])
  t.strictSame(await query('select distinct owner from sink_offsets where consumer_group = \'vital-sink\''), [{ owner: 'b' }])
  const later = (firstOffset: number) => claimOffset(
    kysely, { consumerGroup: 'vital-sink', topicId: TOPIC_ID, partition: 2 }, { topic: 'vital.readings', owner: 'b', firstOffset })
  t.equal((await later(200)).nextOffset, 200)
  t.equal((await later(300)).nextOffset, 200, 'a position that is there stays')
})

t.test('a sink that was replaced commits nothing', async (t) => {
  const { store, claim, offsets, devices } = await createSinks(t)
  const [old, kept] = [await claim('a', 0), await claim('a', 1)]
  const fresh = await claim('b', 0)
  const refused = { code: 'VS001', message: /another sink has taken over/ }
  const both = [upTo(old, 5), upTo(kept, 7)]
  await t.rejects(store.write([row('a')], [letter('b')], undefined, both), refused, 'one of two partitions is enough')
  await t.rejects(store.write([], [], undefined, both), refused, 'with nothing else in it')
  await store.write([row('dup')], [])
  await t.rejects(store.write([row('dup'), row('c')], [], undefined, both), refused, 'by insert … on conflict')
  const ahead = row('ahead', RECEIVED_MS / 1000 + 60)
  await t.rejects(store.write([row('dup'), ahead], [], undefined, both), refused, 'in two round trips')
  for (const table of ['readings', 'latest']) t.strictSame(await devices(table), ['dup'], table)
  t.strictSame(await devices('dead_letters'), [])
  t.strictSame(await offsets(), [[0, 0], [1, 0]])

  const error: unknown = await store.write([], [], undefined, both).catch((error: unknown) => error)
  t.strictSame(toReplaced(error), [{ topicId: TOPIC_ID, partition: 0 }], 'the error names the partition')
  t.equal(toReplaced(new Error('other')), null)
  await store.write([row('a')], [letter('b')], undefined, [upTo(kept, 7), upTo(fresh, 5)])
  t.strictSame(await offsets(), [[0, 5], [1, 7]])
  t.strictSame(await devices('dead_letters'), ['b'])
})

t.test('a batch for a partition that was never claimed is refused', async (t) => {
  const { store, claim, devices } = await createSinks(t)
  const known = await claim('a')
  for (const strange of [{ ...known, partition: 9 }, { ...known, consumerGroup: 'x' }, { ...known, topicId: randomUUID() }]) {
    await t.rejects(store.write([row('a')], [], undefined, [upTo(strange, 5)]), { code: 'VS001' })
  }
  t.strictSame(await devices(), [])
})

t.test('offset and rows are committed or rolled back together, in every way of writing a batch', async (t) => {
  const { store, query, claim, offsets, devices } = await createSinks(t)
  const mine = await claim('a')
  await store.write([row('a')], [], undefined, [upTo(mine, 1)])
  t.strictSame(await offsets(), [[0, 1]], 'copied')
  t.strictSame(await store.write([row('a'), row('b')], [], undefined, [upTo(mine, 3)]), { duplicates: [0] })
  t.strictSame(await offsets(), [[0, 3]], 'inserted')
  const ahead = row('c', RECEIVED_MS / 1000 + 60)
  t.strictSame(await store.write([row('a'), ahead], [], undefined, [upTo(mine, 5)]), { duplicates: [0] })
  t.strictSame(await offsets(), [[0, 5]], 'in two round trips')
  await query('create function fail() returns trigger language plpgsql as $$ begin raise exception \'no\'; end $$')
  await query('create trigger fail before update on sink_offsets for each row execute function fail()')
  await t.rejects(store.write([row('d')], [], undefined, [upTo(mine, 6)]), { code: 'P0001' })
  t.strictSame(await devices(), ['a', 'b', 'c'])
})

t.test('an offset never moves back: a batch whose answer was lost commits behind its successors', async (t) => {
  const { store, claim, offsets } = await createSinks(t)
  const mine = await claim('a')
  await store.write([row('b')], [], undefined, [upTo(mine, 20)])
  await store.write([row('a')], [], undefined, [upTo(mine, 10)])
  t.strictSame(await offsets(), [[0, 20]])
})

t.test('a claim waits for the batch of the owner before, and starts behind it', async (t) => {
  const { store, query, claim, devices } = await createSinks(t)
  const old = await claim('a')
  await query('create function nap() returns trigger language plpgsql as $$ begin perform pg_sleep(1); return null; end $$')
  // Waits after the update of the offset, whose row is then locked and not committed.
  await query('create constraint trigger nap after insert on readings initially deferred for each row execute function nap()')
  const batch = store.write([row('a')], [], undefined, [upTo(old, 8)])
  const waiting = `select from pg_locks join pg_database on pg_database.oid = database
    where datname = current_database() and relation = 'sink_offsets'::regclass and mode = 'RowExclusiveLock'`
  await until(async () => (await query(waiting)).length > 0)
  await sleep(100)
  t.match(await claim('b'), { epoch: 2, nextOffset: 8 })
  await batch
  t.strictSame(await devices(), ['a'])
  await t.rejects(store.write([row('b')], [], undefined, [upTo(old, 9)]), { code: 'VS001' })
})

t.test('the leader epoch is that of the offset that is kept', async (t) => {
  const { store, kysely, claim } = await createSinks(t)
  const mine = await claim('a')
  const move = (nextOffset: number, leaderEpoch: number | null) =>
    store.write([], [], undefined, [{ ...mine, nextOffset, leaderEpoch }])
  const stored = async () => {
    const { nextOffset, leaderEpoch } = await claimOffset(kysely, { ...mine, consumerGroup: 'vital-sink' }, { topic: 'x', owner: 'a' })
    await kysely.updateTable('sink_offsets').set({ epoch: mine.epoch }).execute()
    return [nextOffset, leaderEpoch]
  }
  await move(20, 7)
  t.strictSame(await stored(), [20, 7])
  await move(10, 6)
  t.strictSame(await stored(), [20, 7], 'a batch that commits late')
  await move(20, null)
  t.strictSame(await stored(), [20, 7], 'a part of a batch that was refused, with the offsets as they were')
  await move(30, null)
  t.strictSame(await stored(), [30, null])
  t.ok(await setOffset(kysely, { ...mine, nextOffset: 25, leaderEpoch: 9 }))
  t.strictSame(await stored(), [25, 9])
})

t.test('a position moves back where brokers have truncated the log, and no earlier batch moves it forward', async (t) => {
  const { store, kysely, query, claim, offsets } = await createSinks(t)
  const mine = await claim('a')
  await store.write([row('a')], [], undefined, [{ ...mine, nextOffset: 1000, leaderEpoch: 1 }])
  const places = [0, 1].map((partition) => ({ topicId: TOPIC_ID, partition }))
  for (const [device, offset] of [['before', 899], ['behind', 950], ['passed', 100]] as const) {
    const { id } = await registerLogErasure(kysely, { device, by: { marker: randomUUID() }, partitions: places })
    await noteMarkers(kysely, id, places.map((place) => ({ ...place, offset })))
  }
  const { id } = await registerLogErasure(kysely, { device: 'ahead', by: { marker: randomUUID() }, partitions: places })
  t.type(id, 'number')
  const replaced = { ...mine, epoch: mine.epoch - 1 }
  t.equal(await moveOffsetBack(kysely, replaced, { nextOffset: 900, leaderEpoch: 1 }), false, 'a sink that was replaced')
  t.equal(await moveOffsetBack(kysely, mine, { nextOffset: 1000, leaderEpoch: 1 }), false, 'it is there already')
  t.strictSame(await offsets(), [[0, 1000]])
  t.equal(await moveOffsetBack(kysely, mine, { nextOffset: 900, leaderEpoch: 1 }), true)
  await t.rejects(store.write([row('late')], [], undefined, [{ ...mine, nextOffset: 1000 }]), { code: 'VS001' })
  t.match(await claim('a'), { nextOffset: 900, leaderEpoch: 1 })
  const markers = await query<{ device: string, at: number, partition: number }>(`
    select device, partition, marker_offset::int as at from erasure_markers join log_erasures on log_erasures.id = erasure order by 1, 2`)
  t.strictSame(markers.map(({ device, partition, at }) => [device, partition, at]), [
    ['ahead', 0, null], ['ahead', 1, null], ['before', 0, 899], ['before', 1, 899],
    ['behind', 0, 900], ['behind', 1, 950], ['passed', 0, 100], ['passed', 1, 100]
  ], 'a marker that was cut off moves to the end, in this partition')
})
