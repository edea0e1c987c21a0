import { type Kysely, type Migration, sql } from 'kysely'

/** Principals named in one row of the log: a change of 70,000 is 140 rows, and a page of some rows stays small. */
const PRINCIPALS_PER_ROW = 500

/** @param column - of the changed rows that names the principal */
const noteFunction = (name: string, column: string) => `create function ${name} () returns trigger language plpgsql as $$
  begin
    if tg_op = 'TRUNCATE' then
      insert into principal_changes (principals) values ('{}');
    else
      insert into principal_changes (principals)
      select array_agg(id) from (
        select id, (row_number() over () - 1) / ${PRINCIPALS_PER_ROW} as part from (select distinct ${column} as id from changed) named
      ) numbered group by part;
    end if;
    return null;
  end
$$`

const triggers = (table: string, noteFunction: string) => [
  `create trigger ${table}_insert_noted after insert on ${table} referencing new table as changed for each statement execute function ` +
    `${noteFunction}()`,
  `create trigger ${table}_update_noted after update on ${table} referencing old table as changed for each statement execute function ` +
    `${noteFunction}()`,
  `create trigger ${table}_delete_noted after delete on ${table} referencing old table as changed for each statement execute function ` +
    `${noteFunction}()`,
  `create trigger ${table}_truncate_noted after truncate on ${table} for each statement execute function ${noteFunction}()`
]

const STATEMENTS = [
  `create table principal_changes (
    id bigint generated always as identity primary key,
    xid xid8 not null default pg_current_xact_id(),
    at timestamptz not null default clock_timestamp(),
    principals text[] not null
  )`,
  'create index principal_changes_xid on principal_changes (xid)',
  'create table principal_changes_forgotten (xid xid8 not null)',
  'insert into principal_changes_forgotten values (\'0\')',
  noteFunction('vital_note_principals', 'id'),
  noteFunction('vital_note_credentials', 'principal'),
  ...triggers('principals', 'vital_note_principals'),
  ...triggers('credentials', 'vital_note_credentials'),
  'drop index principals_changed_at'
]

const COMMENTS = {
  'table principal_changes': 'Which principals changed, by transaction: gateways look each second for rows that were committed since ' +
    'they last looked.',
  'column principal_changes.id': 'In the order of writing, which is not that of the commits.',
  'column principal_changes.xid': 'The transaction that made the change; whether a gateway has seen it is decided by its snapshot, ' +
    'not by a time.',
  'column principal_changes.at': 'When it was written. Rows older than an hour are deleted.',
  'column principal_changes.principals': 'Ids of the principals that changed, or whose credentials did; none where anybody may ' +
    'have changed.',
  'table principal_changes_forgotten': 'The newest transaction whose rows of principal_changes were deleted: a gateway that had not ' +
    'seen it looks at everybody anew.',
  'column principal_changes_forgotten.xid': 'One row.',
  'column principals.changed_at': 'When the principal or one of its credentials was last changed.',
  'function vital_note_principals': 'Notes changed rows of principals in principal_changes.',
  'function vital_note_credentials': 'Notes the principals of changed rows of credentials in principal_changes.'
}

/**
 * A log of changed principals that is read by transaction instead of by time: `changed_at` is stamped before COMMIT, so
 * a gateway that looked in between never saw the change. Triggers write the log, so that it has changes by hand too.
 */
export const principalChanges: Migration = {
  async up (db: Kysely<unknown>): Promise<void> {
    for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
    for (const [object, comment] of Object.entries(COMMENTS)) {
      await sql`comment on ${sql.raw(object)} is ${sql.lit(comment)}`.execute(db)
    }
  }
}
