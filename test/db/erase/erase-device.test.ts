import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import t, { type Test } from 'tap'
import { eraseDevice } from '../../../db/erase/erase-device.ts'
import { createTestDatabase } from '../../helpers/postgres.ts'
import { logger } from '../../helpers/embedded.ts'

async function setUp (t: Test) {
  const { connectionString, query } = await createTestDatabase(t)
  const open: pg.Client[] = []
  // In one teardown, because the end of an erasure waits for the locks of these connections.
  t.teardown(() => Promise.all(open.map((client) => client.end())))
  const connect = async () => {
    const client = new pg.Client({ connectionString })
    await client.connect()
    open.push(client)
    return client
  }
  const erase = () => eraseDevice({ connectionString, device: 'a', actor: 'test', logger, isStopping: () => false })
  return { query, connect, erase }
}

const READING = "insert into readings values ('a', now(), gen_random_uuid(), '{}', now())"
const LETTER = `insert into dead_letters (id, received_at, transport, device, reason, errors, payload)
  values (gen_random_uuid(), now(), 'mqtt', 'a', 'invalid_json', '[]', '')`

t.test('an erasure does not wait for autovacuum on the tables', { timeout: 60_000 }, async (t) => {
  const { query, connect, erase } = await setUp(t)
  await query(READING)
  await query(LETTER)
  const vacuum = await connect()
  await vacuum.query('begin')
  // The lock of VACUUM and ANALYZE. A request that waits for less than deadlock_timeout does not cancel them.
  await vacuum.query('lock table readings, dead_letters, latest in share update exclusive mode')
  t.match(await erase(), { readings: 1, deadLetters: 1 })
})

t.test('an erasure waits for writes that are under way, and makes no other write wait', { timeout: 60_000 }, async (t) => {
  for (const insert of [READING, LETTER]) {
    const { connect, erase } = await setUp(t)
    const writer = await connect()
    await writer.query('begin')
    await writer.query(insert)
    let isErased = false
    const erasing = erase().then((erased) => {
      isErased = true
      return erased
    })
    const other = await connect()
    await other.query("set lock_timeout = '100ms'")
    for (let round = 0; round < 20; round++) {
      await other.query(READING.replace("'a'", "'b'"))
      await other.query(LETTER.replace("'a'", "'b'"))
      await sleep(50)
    }
    t.equal(isErased, false)
    await writer.query('commit')
    const { readings, deadLetters } = await erasing
    t.equal(readings + deadLetters, 1, 'a row committed meanwhile is erased')
  }
})

t.test('an erasure does not wait for a transaction that begins to write later', { timeout: 60_000 }, async (t) => {
  const { connect, erase } = await setUp(t)
  const [first, second] = [await connect(), await connect()]
  await first.query('begin')
  await first.query(READING.replace("'a'", "'b'"))
  const erasing = erase()
  await sleep(500)
  await second.query('begin')
  await second.query(READING.replace("'a'", "'c'"))
  await first.query('commit')
  t.match(await erasing, { readings: 0 })
  await second.query('rollback')
})
