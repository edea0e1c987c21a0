/** Erasures of records that wait in Kafka, as PostgreSQL keeps them. A batch is refused if its sink does not know of one. */
import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createDatabase } from '../../../db/database.ts'
import { eraseDevice } from '../../../db/erase/erase-device.ts'
import { insertErasure, registerGateway } from '../../../db/erase/erasure-requests.ts'
import { noteMarkers, registerLogErasure, selectErasureMarks, takeFoundErasures } from '../../../db/erase/log-erasures.ts'
import { claimOffset } from '../../../db/queries/claim-offset.ts'
import { createStore } from '../../../db/store.ts'
import { toReadingRow } from '../../../src/ingest/reading-row.ts'
import { exactly } from '../../helpers/exactly.ts'
import { createTestDatabase } from '../../helpers/postgres.ts'

const TOPIC_ID = '00112233-4455-6677-8899-aabbccddeeff'
const places = (count: number) => Array.from({ length: count }, (_, partition) => ({ topicId: TOPIC_ID, partition }))
const NAME = 'vital-sink test:1/ab'
const logger = pino({ level: 'silent' })

async function setUp (t: Test) {
  const { connectionString, query } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 4, applicationName: NAME, logger })
  t.teardown(() => database.close())
  const { kysely } = database
  const claim = (partition: number, consumerGroup = 'vital-sink') =>
    claimOffset(kysely, { consumerGroup, topicId: TOPIC_ID, partition }, { topic: 'vital.readings', owner: 'a' })
  const request = () => insertErasure(kysely, { device: 'a', actor: 'test', coordinator: 'test' })
  const erase = (options: { readonly request?: number, readonly mark?: () => Promise<number> }) =>
    eraseDevice({ connectionString, device: 'a', actor: 'test', logger, isStopping: () => false, ...options })
  return { kysely, query, store: createStore(database), claim, request, erase }
}

const row = (device: string, timestamp = 1) => toReadingRow({ timestamp }, device, 1_750_000_000_123)

t.test('a batch whose sink has not read the last erasure is refused, whatever its device', async (t) => {
  const { kysely, query, store, claim, request } = await setUp(t)
  const before = { ...await claim(0), nextOffset: 5 }
  await store.write([row('a')], [], undefined, [before])
  await registerLogErasure(kysely, { device: 'a', by: { request: await request() }, partitions: places(2) })
  for (const rows of [[row('b', 2)], []]) {
    await t.rejects(store.write(rows, [], undefined, [{ ...before, nextOffset: 7 }]), { code: 'VS002' })
  }
  t.strictSame(await query('select device from readings'), [{ device: 'a' }])
  t.strictSame(await query('select next_offset::int as next from sink_offsets'), [{ next: 5 }])
  const { seen, marks } = await selectErasureMarks(kysely, 'vital-sink', places(1))
  t.match(marks, exactly({ partition: 0, device: 'a', markerOffset: null, isCleared: false }))
  await store.write([row('b', 2)], [], undefined, [{ ...before, seenMarker: seen, nextOffset: 7 }])
  t.equal((await claim(0)).seenMarker, seen, 'the claimant of a partition has read up to this marker, or further')
})

t.test('a group is told of the erasures of a partition that are ahead of it or not cleared', async (t) => {
  const { kysely, query, store, claim, request, erase } = await setUp(t)
  const id = await request()
  const first = await registerLogErasure(kysely, { device: 'a', by: { request: id }, partitions: places(1) })
  const again = await registerLogErasure(kysely, { device: 'a', by: { request: id }, partitions: places(2) })
  t.strictSame(again, first, 'another gateway goes on with the erasure')
  await noteMarkers(kysely, first.id, [{ ...places(1)[0]!, offset: 10 }])
  await noteMarkers(kysely, first.id, places(2).map((place) => ({ ...place, offset: 20 })))
  const known = async (group = 'vital-sink') => (await selectErasureMarks(kysely, group, places(2))).marks
    .map(({ partition, markerOffset, isCleared }) => [partition, markerOffset, isCleared]).sort()
  t.strictSame(await known(), [[0, 10, false], [1, 20, false]], 'the first marker counts')
  await query("insert into readings values ('a', now(), gen_random_uuid(), '{}', now())")
  t.match(await erase({ request: id, mark: () => Promise.resolve(first.id) }), { readings: 1 })
  for (const partition of [0, 1]) {
    const { seen } = await selectErasureMarks(kysely, 'vital-sink', [])
    await store.write([], [], undefined, [{ ...await claim(partition), seenMarker: seen, nextOffset: 11 }])
    await claim(partition, 'slow')
  }
  t.strictSame(await known(), [[1, 20, true]], 'behind the marker the erasure is not reported')
  t.strictSame(await known('slow'), [[0, 10, true], [1, 20, true]])
})

t.test('an erasure that another process has carried out is not repeated: later readings stay', async (t) => {
  const { kysely, query, request, erase } = await setUp(t)
  const id = await request()
  const erasure = await registerLogErasure(kysely, { device: 'a', by: { request: id }, partitions: places(1) })
  await erase({ request: id, mark: () => Promise.resolve(erasure.id) })
  await query("insert into readings values ('a', now(), gen_random_uuid(), '{}', now())")
  t.match(await erase({ request: id, mark: () => Promise.resolve(erasure.id) }), { readings: 0, latest: 0 })
  t.match(await erase({ request: id }), { readings: 0, latest: 0 })
  t.equal((await query('select from readings')).length, 1)
  t.match(await erase({ request: await request() }), { readings: 1 }, 'another request erases it')
})

t.test('an erasure that a sink has found is registered once, and cleared by one sink', async (t) => {
  const { kysely, query } = await setUp(t)
  const marker = randomUUID()
  const found = { device: 'a', by: { marker } }
  const { id } = await registerLogErasure(kysely, { ...found, partitions: places(2) })
  await query('delete from erasure_markers where partition = 1')
  await registerLogErasure(kysely, { ...found, partitions: places(2) })
  t.strictSame(await query('select partition from erasure_markers'), [{ partition: 0 }], 'a repeated marker is not awaited in all')
  t.strictSame(await takeFoundErasures(kysely, 'one'), [{ id, device: 'a' }])
  await query("update log_erasures set cleared_by = 'gone'")
  t.strictSame(await takeFoundErasures(kysely, 'two'), [{ id, device: 'a' }], 'the sink that was to clear it is gone')
  await query('update log_erasures set cleared_by = $1', [NAME])
  t.strictSame(await takeFoundErasures(kysely, 'two'), [], 'the sink that is to clear it lives')
})

t.test('a gateway that comes later, or back, misses no request, though old ones are forgotten', async (t) => {
  const { kysely, query, request } = await setUp(t)
  const one = randomUUID()
  t.equal(await registerGateway(kysely, { id: one, name: 'one' }), 0)
  const id = await request()
  await registerLogErasure(kysely, { device: 'a', by: { request: id }, partitions: places(1) })
  t.equal(await registerGateway(kysely, { id: randomUUID(), name: 'two' }), id - 1, 'the request before is not done')
  await query('delete from erasures')
  t.equal(await registerGateway(kysely, { id: randomUUID(), name: 'three' }), id)
  t.equal(await registerGateway(kysely, { id: one, name: 'one' }), id)
  const next = await request()
  t.equal(await registerGateway(kysely, { id: one, name: 'one' }), next - 1)
})
