import { type Kysely, type Migration, sql } from 'kysely'

/** Column prefixes of the vital signs. */
const SIGNS = [
  'heart_rate', 'breath_rate', 'breath', 'pulse_rate', 'blood_pressure_systolic', 'blood_pressure_diastolic', 'spo2',
  'temperature'
]

const columnsOf = (sign: string) => `
    ${sign}_count integer not null,
    ${sign}_min numeric, ${sign}_max numeric, ${sign}_sum numeric, ${sign}_first numeric, ${sign}_last numeric`

const createRollups = (table: string) => [
  `create table ${table} (
    device text collate "C" not null,
    time timestamptz not null,
    readings integer not null,${SIGNS.map(columnsOf).join(',')},
    primary key (device, time)
  ) partition by range (time)`,
  `create table ${table}_default partition of ${table} default`,
  `create index ${table}_time on ${table} using brin (time) with (pages_per_range = 512, autosummarize = on)`
]

const STATEMENTS = [
  ...createRollups('rollups_5m'),
  ...createRollups('rollups_1h'),

  // Only readings that come late write here, so its index costs other readings nothing.
  `create table rollup_late (device text collate "C" not null, time timestamptz not null) with (
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
  )`,
  'create index rollup_late_device_time on rollup_late (device, time)',

  `create table rollup_state (
    is_only boolean primary key default true check (is_only),
    open_from timestamptz not null,
    closed_before timestamptz not null,
    closed_device text collate "C" not null default '',
    built_from timestamptz not null,
    built_device text collate "C" not null default '',
    sealed_before timestamptz not null default '-infinity'
  ) with (fillfactor = 50)`,
  // Rows that are stored already are rolled up later, beside the traffic: a start does not wait for them.
  `insert into rollup_state (open_from, closed_before, built_from)
    select base, base, case when exists (select from readings) then base else '-infinity' end
    from (select date_trunc('hour', now(), 'UTC') as base) now`,

  `create function vital_refuse_closed (open_from timestamptz) returns void language plpgsql as $$
    begin
      raise exception using errcode = 'VR001',
        message = 'a bucket of the batch was closed meanwhile',
        detail = (extract(epoch from open_from) * 1000000)::bigint;
    end
  $$`
]

const signComments = (table: string) => Object.fromEntries(SIGNS.flatMap((sign) => [
  [`column ${table}.${sign}_count`, 'Readings of the bucket that hold this vital sign.'],
  [`column ${table}.${sign}_sum`, 'Divided by the count it is the mean; exact, whatever the order of the readings.'],
  [`column ${table}.${sign}_first`, 'Of the earliest reading that holds it.'],
  [`column ${table}.${sign}_last`, 'Of the latest reading that holds it.']
]))

const COMMENTS = {
  'table rollups_5m': 'Readings of a device in 5 minutes, summed up; partitioned by month (UTC). A bucket that is marked in ' +
    'rollup_late is about to be computed anew.',
  'column rollups_5m.device': 'Device id.',
  'column rollups_5m.time': 'When the bucket begins.',
  'column rollups_5m.readings': 'Readings in the bucket.',
  ...signComments('rollups_5m'),
  'table rollups_1h': 'The same by the hour.',
  'column rollups_1h.device': 'Device id.',
  'column rollups_1h.time': 'When the bucket begins.',
  'column rollups_1h.readings': 'Readings in the bucket.',
  ...signComments('rollups_1h'),
  'table rollup_late': 'Buckets that got a reading after they were closed; may name a bucket more than once.',
  'column rollup_late.device': 'Device id.',
  'column rollup_late.time': 'When the bucket of 5 minutes begins.',
  'table rollup_state': 'How far the roll-ups are: one row.',
  'column rollup_state.open_from': 'Readings from here on need no mark in rollup_late.',
  'column rollup_state.closed_before': 'Buckets before it are computed, back to built_from.',
  'column rollup_state.closed_device': 'Of the buckets being closed, devices up to this one are computed.',
  'column rollup_state.built_from': 'Readings that are older wait to be rolled up.',
  'column rollup_state.built_device': 'Of the day being built, devices up to this one are computed.',
  'column rollup_state.sealed_before': 'Roll-ups before it are final: retention removed the readings.',
  'function vital_refuse_closed': 'Fails with VR001: a reading of the batch has no mark and lies before open_from.'
}

/** Averages of 5 minutes and 1 hour, and the tables that keep them exact (`db/rollups/README.md`). */
export const rollups: Migration = {
  async up (db: Kysely<unknown>): Promise<void> {
    for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
    for (const [object, comment] of Object.entries(COMMENTS)) {
      await sql`comment on ${sql.raw(object)} is ${sql.lit(comment)}`.execute(db)
    }
  }
}
