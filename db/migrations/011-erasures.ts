import { type Kysely, type Migration, sql } from 'kysely'

const STATEMENTS = [
  `create table erasures (
    id bigint generated always as identity primary key,
    device text collate "C" not null,
    actor text not null,
    requested_at timestamptz not null default now(),
    coordinator text not null,
    deleted_at timestamptz
  )`,
  `create table gateways (
    id uuid primary key,
    name text not null,
    started_at timestamptz not null default now(),
    seen_erasure bigint not null default 0,
    is_spool_empty boolean not null default false
  )`
]

const COMMENTS = {
  'table erasures': 'Requests to erase a device, which every gateway confirms. They commit in the order of their ids, and are carried ' +
    'out once they are here, whoever asked.',
  'column erasures.coordinator': 'application_name of the gateway or the command that deletes. Another gateway goes on where it is gone.',
  'column erasures.deleted_at': 'When PostgreSQL held nothing of the device any more; null: it is being done.',
  'table gateways': 'Gateways by the identity of their spool, dead ones too: what waits there is not replayed if its device was erased.',
  'column gateways.name': 'application_name of its last start.',
  'column gateways.seen_erasure': 'Nothing that it accepted before it read this request, and those before, will be stored any more.',
  'column gateways.is_spool_empty': 'It was stopped, and nothing waits in its spool.'
}

/** Erasures across gateways (`src/operations/README.md`). */
export const erasures: Migration = {
  async up (db: Kysely<unknown>): Promise<void> {
    for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
    for (const [object, comment] of Object.entries(COMMENTS)) {
      await sql`comment on ${sql.raw(object)} is ${sql.lit(comment)}`.execute(db)
    }
  }
}
