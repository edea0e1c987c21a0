import { type Kysely, type Migration, sql } from 'kysely'

const STATEMENTS = [
  // Each batch updates it, but no column of its key: half of each page is left free, so that updates stay on the page.
  `create table sink_offsets (
    consumer_group text collate "C" not null,
    topic text collate "C" not null,
    topic_id uuid not null,
    partition integer not null,
    next_offset bigint not null default 0,
    epoch bigint not null default 1,
    owner text not null,
    claimed_at timestamptz not null default now(),
    moved_at timestamptz not null default now(),
    primary key (consumer_group, topic_id, partition)
  ) with (fillfactor = 50)`,
  `create function vital_refuse_replaced (replaced text) returns void language plpgsql as $$
    begin
      raise exception using errcode = 'VS001',
        message = 'another sink has taken over a partition of the batch',
        detail = replaced;
    end
  $$`
]

const COMMENTS = {
  'table sink_offsets': 'How far sinks have stored each partition of Kafka. A batch moves it in the transaction of its rows.',
  'column sink_offsets.consumer_group': 'Consumer group of the sinks.',
  'column sink_offsets.topic_id': 'Of Kafka. A topic that was deleted and made again under the same name has another one, and starts at 0.',
  'column sink_offsets.next_offset': 'Offset of the first record that is not stored yet.',
  'column sink_offsets.epoch': 'Counts the owners. A batch of an earlier owner is refused (VS001).',
  'column sink_offsets.owner': 'application_name of the sink that reads the partition, or that read it last.',
  'column sink_offsets.claimed_at': 'When that sink took it over.',
  'column sink_offsets.moved_at': 'When next_offset was last written.',
  'function vital_refuse_replaced': 'Fails with VS001: the epoch of a partition is not that of the batch.'
}

/** Positions of sinks in Kafka, which move in the transactions that store the records (`src/sink/README.md`). */
export const sinkOffsets: Migration = {
  async up (db: Kysely<unknown>): Promise<void> {
    for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
    for (const [object, comment] of Object.entries(COMMENTS)) {
      await sql`comment on ${sql.raw(object)} is ${sql.lit(comment)}`.execute(db)
    }
  }
}
