import { statfsSync } from 'node:fs'
import type pg from 'pg'

/** Devices of a fleet are called `{FLEET}-0000000` and up. */
export const FLEET = 'bench-fleet'

/** Digits of the number of a device, constant so that its topic can be overwritten in place. */
export const DEVICE_DIGITS = 7

const DEVICE = `'${FLEET}-' || lpad(`

/** Rows in one statement; progress is printed after each. */
const LATEST_CHUNK = 100_000
const HISTORY_CHUNK = 1_000_000

/** Measured with a million readings: 234 for the row, 68 for the key; the rest is room to sort the key. */
const BYTES_PER_READING = 400
/** For the write-ahead log (max_wal_size is 2 GB), and for what is measured. */
const BYTES_SPARE = 4 * 2 ** 30

/** Like the readings of the generator. */
const VITALS = `jsonb_build_object('heartRateValue', round((60 + random() * 38)::numeric, 1),
  'breathRateValue', round((10 + random() * 8)::numeric, 1), 'spo2Value', round((90 + random() * 8)::numeric, 1),
  'temperatureValue', round((35 + random() * 4)::numeric, 2))`

type Say = (line: string) => void

/**
 * Fills `latest` with devices that the server generates: each reported within the last hour, in random order.
 */
export async function preloadLatest (database: pg.Client, devices: number, say: Say): Promise<void> {
  for (let from = 0; from < devices; from += LATEST_CHUNK) {
    const to = Math.min(devices, from + LATEST_CHUNK)
    await database.query(`
      insert into latest (device, time, oldest_time, vitals, heart_rate, breath_rate, vital_times)
      select device, time, time, vitals, (vitals->'heartRateValue')::float8, (vitals->'breathRateValue')::float8,
        jsonb_build_object('heartRateValue', seconds, 'breathRateValue', seconds,
          'spo2Value', seconds, 'temperatureValue', seconds)
      from (select ${DEVICE} i::text, ${DEVICE_DIGITS}, '0') as device, time, extract(epoch from time) as seconds, ${VITALS} as vitals
        from (select i, now() - random() * interval '1 hour' as time from generate_series(${from}, ${to - 1}) i) timed) made
      order by random()`)
    say(`preload: ${to.toLocaleString('en-US')} of ${devices.toLocaleString('en-US')} devices in latest`)
  }
  await database.query('vacuum analyze latest')
}

/** A gigabyte, which a new server writes before it has segments to reuse. */
const LOG_SEGMENTS = 64

/**
 * Makes a new server's write-ahead log like that of a server in use. A new server fills each segment of 16 MB with
 * zeros when it gets there, some 50 ms in which nothing is committed; after its first gigabyte it reuses old segments.
 */
export async function ageLog (database: pg.Client): Promise<void> {
  await database.query(`do $$ begin
    for segment in 1..${LOG_SEGMENTS} loop
      perform pg_logical_emit_message(false, 'bench', 'so that there is something to switch from'), pg_switch_wal();
    end loop;
  end $$`)
  await database.query('checkpoint')
}

/** @throws Error when the disk has no room for the readings */
export function checkRoom (directory: string, readings: number): void {
  const { bavail, bsize } = statfsSync(directory)
  const [needed, free] = [readings * BYTES_PER_READING + BYTES_SPARE, bavail * bsize]
  if (free >= needed) return
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`
  throw new Error(`${readings} readings need ${gib(needed)} of disk and ${directory} has ${gib(free)}: take fewer (--history) or ` +
    'another place (--data-dir)')
}

/**
 * Fills a month of `readings` that has no partition yet, with rows that the server generates. Its key is built after
 * the rows: row by row it would be read from disk at random.
 * @throws Error when the disk has no room
 */
export async function preloadHistory (
  database: pg.Client, { readings, devices, directory }: {
    readonly readings: number
    readonly devices: number
    readonly directory: string
  }, say: Say
): Promise<void> {
  checkRoom(directory, readings)
  // Six months ago: the partitions that the gateway creates ahead begin with this month.
  const { rows: [month] } = await database.query<{ from: string, to: string }>(`
    select (start - interval '6 months')::date::text as from, (start - interval '5 months')::date::text as to
    from (select date_trunc('month', now() at time zone 'UTC') as start) this`)
  if (month === undefined) throw new Error('PostgreSQL does not know the month')
  const [from, to] = [`timestamptz '${month.from} 00:00:00+00'`, `timestamptz '${month.to} 00:00:00+00'`]
  const startedAtMs = performance.now()
  const elapsed = () => `${((performance.now() - startedAtMs) / 1000).toFixed(0)} s`
  await database.query(`create table readings_history (like readings including defaults, check (time >= ${from} and time < ${to}))`)
  for (let first = 0; first < readings; first += HISTORY_CHUNK) {
    const end = Math.min(readings, first + HISTORY_CHUNK)
    await database.query(`
      insert into readings_history (device, time, hash, vitals, received_at)
      select ${DEVICE} (i % ${devices})::text, ${DEVICE_DIGITS}, '0'), time, gen_random_uuid(), ${VITALS}, time
      from (select i, ${from} + (${to} - ${from}) * (i::float8 / ${readings}) as time
        from generate_series(${first}, ${end - 1}) i) made`)
    say(`preload: ${end.toLocaleString('en-US')} of ${readings.toLocaleString('en-US')} readings after ${elapsed()}`)
  }
  say(`preload: building the key of ${readings.toLocaleString('en-US')} readings`)
  await database.query('alter table readings_history add primary key (device, time, hash)')
  await database.query(`alter table readings attach partition readings_history for values from (${from.slice(12)}) to (${to.slice(12)})`)
  await database.query('vacuum (analyze, freeze) readings_history')
  await database.query('checkpoint')
  say(`preload: history is ready after ${elapsed()}`)
}
