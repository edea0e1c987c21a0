/**
 * Averages equal a recomputation for any sequence of events: readings that are on time, late, ahead, repeated and erased, of
 * two gateways, with batches that hang before their COMMIT, and two workers that crash between their steps.
 *
 * `ROLLUP_RUNS` draws more runs, `SEED` repeats one.
 */
import type { Kysely } from 'kysely'
import pg from 'pg'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createDatabase } from '../../db/database.ts'
import { eraseDevice } from '../../db/erase/erase-device.ts'
import { selectBuckets } from '../../db/rollups/select-buckets.ts'
import { createStore } from '../../db/store.ts'
import type { Tables } from '../../db/tables.ts'
import { createRollupWorker, type RollupPoint } from '../../src/rollups/rollup-worker.ts'
import { toReadingRow } from '../../src/ingest/reading-row.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { createRandom } from '../helpers/random.ts'
import { recompute, type StoredReading, toNumbers } from '../helpers/recompute.ts'

const RUNS = Number(process.env['ROLLUP_RUNS'] ?? 3)
const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)
const STEPS = 150
/** Most readings are of the first three. The others are enough for more than one chunk. */
const DEVICES = ['a', 'b', 'c', ...Array.from({ length: 20 }, (_, at) => `d${at}`)]
const HOUR_S = 3600
/** A whole hour, in June 2025. */
const BASE_S = Math.floor(1_750_000_000 / HOUR_S) * HOUR_S
const logger = pino({ level: 'silent' })

class Crash extends Error {}

/** A batch with one of these devices waits before its COMMIT while the test holds the lock. */
const PAUSE = `
  create function test_pause () returns trigger language plpgsql as $$
    begin perform pg_advisory_xact_lock_shared(4711); return null; end $$;
  create constraint trigger test_pause after insert or update on latest deferrable initially deferred
    for each row when (new.device like 'pause-%') execute function test_pause()`

async function setUp (t: Test, random: () => number) {
  const { connectionString, query: prepare } = await createTestDatabase(t)
  await prepare(PAUSE)
  await prepare('update rollup_state set open_from = $1, closed_before = $1', [new Date(BASE_S * 1000)])
  let nowS = BASE_S + 60
  const gateways = [0, 1].map(() => {
    const database = createDatabase({ connectionString, poolSize: 8, statementTimeoutMs: 0, queryTimeoutMs: 0, logger })
    t.teardown(() => database.close())
    const onPoint = async (_point: RollupPoint) => {
      if (random() < 0.08) throw new Crash()
    }
    return { store: createStore(database), kysely: database.kysely, worker: toWorker(database.kysely, onPoint) }
  })
  function toWorker (kysely: Kysely<Tables>, onPoint: (point: RollupPoint) => Promise<void>) {
    return createRollupWorker({ kysely, nowMs: () => nowS * 1000, isSaturated: () => false, logger, onPoint })
  }
  const [lock, reader] = [new pg.Client({ connectionString }), new pg.Client({ connectionString })]
  await Promise.all([lock.connect(), reader.connect()])
  t.teardown(() => Promise.all([lock.end(), reader.end()]))
  async function query<Row extends Record<string, unknown>> (text: string, values: unknown[] = []): Promise<Row[]> {
    return (await reader.query<Row>(text, values)).rows
  }
  return {
    connectionString, query, gateways, lock, toWorker, nowS: () => nowS, advance: (seconds: number) => { nowS += seconds }
  }
}

async function runSeed (t: Test, seed: number): Promise<void> {
  const random = createRandom(seed)
  const { connectionString, query, gateways, lock, toWorker, nowS, advance } = await setUp(t, random)
  const pick = <T>(items: readonly T[]) => items[Math.floor(random() * items.length)]!
  const pickDevice = () => random() < 0.8 ? pick(DEVICES.slice(0, 3)) : pick(DEVICES)
  const sent: Array<ReturnType<typeof toReadingRow>> = []
  const paused: Array<Promise<unknown>> = []
  let pauses = 0

  const drawReading = (device: string, timestamp: number) => {
    const fields: Record<string, number> = {}
    if (random() < 0.9) fields['heartRateValue'] = 50 + Math.floor(random() * 60)
    if (random() < 0.5) fields['temperatureValue'] = (360 + Math.floor(random() * 30)) / 10
    if (random() < 0.2) fields['other'] = 1
    return toReadingRow({ timestamp, ...fields }, device, nowS() * 1000)
  }
  const drawTime = () => {
    const kind = random()
    if (kind < 0.6) return nowS() - Math.floor(random() * 20)
    if (kind < 0.9) return Math.max(BASE_S - HOUR_S, nowS() - Math.floor(random() * 3 * HOUR_S))
    return nowS() + Math.floor(random() * HOUR_S)
  }
  const write = (isPaused: boolean) => {
    const rows = Array.from({ length: 1 + Math.floor(random() * 8) }, () => random() < 0.15 && sent.length > 0
      ? pick(sent)
      : drawReading(pickDevice(), drawTime() + Math.floor(random() * 1e6) / 1e6))
    if (isPaused) rows.push(drawReading(`pause-${pauses++}`, nowS()))
    sent.push(...rows.filter(({ device }) => DEVICES.includes(device)))
    return pick(gateways).store.write(rows, [])
  }
  const resume = async () => {
    if (paused.length === 0) return
    await lock.query('select pg_advisory_unlock_all()')
    await Promise.all(paused.splice(0))
  }
  const pauseOne = async () => {
    if (paused.length === 0) await lock.query('select pg_advisory_lock(4711)')
    paused.push(write(true))
    // Until the batch waits at its COMMIT. A later batch may conflict with its rows and wait for them.
    for (let waits = 0; waits < 20; waits++) {
      const [row] = await query<{ waiting: number }>(`
        select count(*)::int as waiting from pg_locks where locktype = 'advisory' and objid = 4711 and not granted`)
      if (row!.waiting >= paused.length) return
    }
  }
  const step = async (worker = pick(gateways).worker) => {
    try {
      return await worker.step()
    } catch (error) {
      if (!(error instanceof Crash)) throw error
      return 'worked'
    }
  }

  async function check (about: string): Promise<void> {
    const device = pickDevice()
    const fromS = BASE_S - HOUR_S + Math.floor(random() * 4 * HOUR_S)
    const seconds = pick([300, 900, 3600, 86_400])
    const isAligned = random() < 0.5
    const startS = isAligned ? Math.floor(fromS / seconds) * seconds : fromS + Math.floor(random() * 1e6) / 1e6
    const endS = startS + Math.floor(random() * 5) * (isAligned ? seconds : 1000)
    const readRows = () => query<StoredReading>(`
      select extract(epoch from time)::float8 as time, vitals from readings
      where device = $1 and time >= to_timestamp($2::float8) and time < to_timestamp($3::float8)
      order by time, hash`, [device, startS, endS])
    let rows = await readRows()
    let buckets
    for (;;) {
      buckets = await selectBuckets(pick(gateways).kysely, {
        device,
        fromUs: Math.round(startS * 1e6),
        toUs: Math.round(endS * 1e6),
        size: { seconds },
        hasWholeHours: seconds >= HOUR_S,
        isDescending: false,
        bucketsMax: 1000
      })
      // A batch that does not hang may be committed meanwhile.
      const later = await readRows()
      if (later.length === rows.length) break
      rows = later
    }
    const expected = recompute(rows, seconds)
    const seen = buckets.map(toNumbers)
    if (JSON.stringify(seen) !== JSON.stringify(expected)) {
      t.same(seen, expected, `${about}: ${device} from ${startS} to ${endS} by ${seconds}; SEED=${seed}`)
    }
  }

  for (let at = 0; at < STEPS && t.passing(); at++) {
    const kind = random()
    // Each hanging batch takes a connection.
    if (paused.length === 4) await resume()
    if (kind < 0.3) {
      // A batch may conflict with rows of one that hangs.
      if (paused.length > 0) paused.push(write(false))
      else await write(false)
    } else if (kind < 0.4) {
      await pauseOne()
    } else if (kind < 0.5) {
      await resume()
    } else if (kind < 0.65) {
      advance(Math.floor(random() * 1200))
    } else if (kind < 0.67) {
      await resume()
      const device = pickDevice()
      await Promise.all([step(), eraseDevice({ connectionString, device, actor: 'test', logger, isStopping: () => false }), step()])
    } else {
      await step()
    }
    await check(`step ${at}`)
  }
  await resume()
  // A restarted worker that no longer crashes.
  const last = toWorker(gateways[0]!.kysely, async () => {})
  while (await step(last) !== 'idle') continue
  for (let at = 0; at < 20 && t.passing(); at++) await check('the end')
  t.same(await query(`
    select (select count(*)::int from rollup_late where time < closed_before) as marks,
      (select count(*)::int from rollups_5m) - (select count(*)::int from (
        select distinct device, date_bin('5 minutes', time, 'epoch') from readings where time < closed_before) filled) as surplus
    from rollup_state`), [{ marks: 0, surplus: 0 }], `every average is computed, and there are no others; SEED=${seed}`)
}

t.test('averages equal a recomputation at every instant', { timeout: 600_000 }, async (t) => {
  for (let run = 0; run < RUNS && t.passing(); run++) {
    await t.test(`SEED=${SEED + run}`, async (t) => { await runSeed(t, SEED + run) })
  }
})
