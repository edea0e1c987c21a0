import { type Kysely, type Migration, sql } from 'kysely'

const STATEMENTS = [
  // `collate "C"` compares device ids by byte: faster than a locale, and the same on every server, so an upgrade
  // of its C library cannot corrupt the key.
  `create table readings (
    device text collate "C" not null,
    time timestamptz not null,
    hash uuid not null,
    vitals jsonb not null,
    received_at timestamptz not null,
    primary key (device, time, hash)
  ) partition by range (time)`,
  'create table readings_default partition of readings default',
  // A block range index costs next to nothing to keep. autosummarize with the default 128 pages per range would
  // ask for more summaries at full ingest than autovacuum's queue of 256 holds between two of its rounds.
  'create index readings_time on readings using brin (time) with (pages_per_range = 512, autosummarize = on)',

  // Half of each page stays free and no index covers a column that changes, so that every update stays on its page
  // (HOT). With such an index 5,000 of 5,000 updates were not, and took twice the time.
  `create table latest (
    device text collate "C" primary key,
    time timestamptz not null,
    oldest_time timestamptz not null,
    vitals jsonb not null,
    vital_times jsonb not null,
    heart_rate float8 generated always as ((vitals->'heartRateValue')::float8) stored,
    breath_rate float8 generated always as (
      case when coalesce((vital_times->'breathRateValue')::float8, '-Infinity'::float8)
             >= coalesce((vital_times->'breathValue')::float8, '-Infinity'::float8)
           then (vitals->'breathRateValue')::float8
           else (vitals->'breathValue')::float8
      end
    ) stored
  ) with (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.2,
    autovacuum_analyze_threshold = 5000
  )`,

  `create table dead_letters (
    id uuid primary key,
    received_at timestamptz not null,
    transport text not null,
    topic text,
    client_id text,
    device text,
    reason text not null,
    errors jsonb not null,
    payload bytea not null
  )`,
  'create index dead_letters_device_received_at on dead_letters (device, received_at)',
  'create index dead_letters_received_at on dead_letters (received_at)'
]

const COMMENTS = {
  'table readings': 'Every accepted reading, partitioned by month (UTC) of its time; one row per device, time and hash.',
  'column readings.device': 'Device id.',
  'column readings.time': 'When the device measured it: the timestamp of the reading, rounded to the microsecond.',
  'column readings.hash': 'First 16 bytes of the SHA-256 of vitals as canonical JSON; tells two readings of one instant apart.',
  'column readings.vitals': 'The reading as it was sent, without device and timestamp.',
  'column readings.received_at': 'When the gateway received it.',
  'table readings_default': 'Readings of months that have no partition of their own.',

  'table latest': 'The latest state of each device: one row per device, upserted as readings arrive.',
  'column latest.device': 'Device id.',
  'column latest.time': 'Time of the newest reading of the device.',
  'column latest.oldest_time': 'No later than the oldest entry of vital_times; for the upsert, which merges by key only when it must.',
  'column latest.vitals': 'The newest value of every field ever seen, under the name it was sent with.',
  'column latest.vital_times': 'Field name to the Unix seconds at which its value was measured.',
  'column latest.heart_rate': 'heartRateValue, beats per minute.',
  'column latest.breath_rate': 'breathRateValue or its older name breathValue, whichever is newer; breaths per minute.',

  'table dead_letters': 'Payloads that were refused, whole, with the reason.',
  'column dead_letters.id': 'Given by the gateway, so that a batch sent twice stores it once.',
  'column dead_letters.received_at': 'When the gateway received it.',
  'column dead_letters.transport': 'mqtt, http or spool.',
  'column dead_letters.topic': 'MQTT topic, null over HTTP.',
  'column dead_letters.client_id': 'MQTT client id, null over HTTP.',
  'column dead_letters.device': 'Device id, null where none could be told.',
  'column dead_letters.reason': 'invalid_json, invalid_reading, device_mismatch, invalid_topic or database_rejected.',
  'column dead_letters.errors': 'What was wrong: an array of {path, message}, path a JSON Pointer into the payload.',
  'column dead_letters.payload': 'The bytes as they came: convert_from(payload, \'UTF8\') where they are text.'
}

/**
 * The first schema: `readings`, `latest`, `dead_letters`. There is no migration down: it would delete acknowledged
 * readings.
 */
export const initial: Migration = {
  async up (db: Kysely<unknown>): Promise<void> {
    for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
    for (const [object, comment] of Object.entries(COMMENTS)) {
      await sql`comment on ${sql.raw(object)} is ${sql.lit(comment)}`.execute(db)
    }
  }
}
