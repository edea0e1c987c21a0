import { type Kysely, type Migration, sql } from 'kysely'

const COMMENT = 'Of the last record that is stored, as Kafka counts the leaders of its partition: a log that brokers cut back has ' +
  'another record there. Null: not known.'

/** Tells a log that brokers cut back from the log that was read (`src/sink/README.md`). */
export const leaderEpochs: Migration = {
  async up (db: Kysely<unknown>): Promise<void> {
    await sql`alter table sink_offsets add column leader_epoch integer`.execute(db)
    await sql`comment on column sink_offsets.leader_epoch is ${sql.lit(COMMENT)}`.execute(db)
  }
}
