import { type Kysely, type Migration, sql } from 'kysely'

const STATEMENTS = [
  `create table log_erasures (
    id bigint generated always as identity primary key,
    marker uuid not null unique default gen_random_uuid(),
    device text collate "C" not null,
    request bigint unique,
    registered_at timestamptz not null default now(),
    cleared_by text,
    cleared_at timestamptz
  )`,
  `create table erasure_markers (
    id bigint generated always as identity primary key,
    erasure bigint not null references log_erasures on delete cascade,
    topic_id uuid not null,
    partition integer not null,
    marker_offset bigint,
    unique (erasure, topic_id, partition)
  )`,
  'create index on erasure_markers (topic_id, partition)',
  'create index on log_erasures (id) where cleared_at is null',
  `create function vital_refuse_unseen() returns void language plpgsql as $$
    begin
      raise exception using errcode = 'VS002', message = 'a device is being erased, and the sink has not read that yet';
    end
  $$`
]

const COMMENTS = {
  'table log_erasures': 'Devices whose records in Kafka are left out up to a marker of each partition.',
  'column log_erasures.marker': 'Of its markers in Kafka.',
  'column log_erasures.request': 'Id in erasures; null: a sink found its marker in Kafka, and this database knew nothing of it.',
  'column log_erasures.cleared_by': 'application_name of the sink that clears PostgreSQL, where no gateway does.',
  'column log_erasures.cleared_at': 'When PostgreSQL held nothing older of the device any more. What stands behind a marker is stored ' +
    'from then on.',
  'table erasure_markers': 'Partitions of Kafka that hold a marker, or will. Ids commit in their order; a batch of a sink that has not ' +
    'read the last one is refused (VS002).',
  'column erasure_markers.marker_offset': 'Of the marker: records of the device before it are not stored. Null: it is not known yet.',
  'function vital_refuse_unseen': 'Fails with VS002: the sink has to read erasure_markers.'
}

/** Erasures of readings that wait in Kafka (`src/kafka/README.md`). */
export const logErasures: Migration = {
  async up (db: Kysely<unknown>): Promise<void> {
    for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
    for (const [object, comment] of Object.entries(COMMENTS)) {
      await sql`comment on ${sql.raw(object)} is ${sql.lit(comment)}`.execute(db)
    }
  }
}
