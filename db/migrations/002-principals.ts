import { type Kysely, type Migration, sql } from 'kysely'

const STATEMENTS = [
  `create table principals (
    id text collate "C" primary key,
    role text not null check (role in ('device', 'operator', 'application', 'admin')),
    created_at timestamptz not null default now(),
    changed_at timestamptz not null default clock_timestamp(),
    revoked_at timestamptz
  )`,
  'create index principals_changed_at on principals (changed_at)',

  `create table credentials (
    id uuid primary key default gen_random_uuid(),
    principal text collate "C" not null references principals on delete cascade,
    kind text not null check (kind in ('secret', 'password')),
    secret_sha256 bytea unique,
    password_argon2id text,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    check ((kind = 'secret') = (secret_sha256 is not null) and (kind = 'password') = (password_argon2id is not null))
  )`,
  'create index credentials_principal on credentials (principal)',

  `create table audit_log (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    actor text not null,
    act text not null,
    target text,
    details jsonb not null default '{}'
  )`
]

const COMMENTS = {
  'table principals': 'Who may come in: devices, operators, applications and administrators.',
  'column principals.id': 'What a client gives as its username; a device\'s is its device id.',
  'column principals.role': 'device, operator, application or admin.',
  'column principals.created_at': 'When it was added.',
  'column principals.changed_at': 'Set by every change of the principal or one of its credentials; gateways look for what is newer ' +
    'than they know.',
  'column principals.revoked_at': 'Since when it is refused; the row stays, so that its id is not taken by another unnoticed.',

  'table credentials': 'How principals prove who they are. Holds no secret, only what a secret can be checked with.',
  'column credentials.id': 'Names the credential in the audit log.',
  'column credentials.principal': 'Whose it is.',
  'column credentials.kind': 'secret: 256 random bits that the gateway generated; password: chosen by a person.',
  'column credentials.secret_sha256': 'SHA-256 of the text of a secret; its randomness is what protects it.',
  'column credentials.password_argon2id': 'PHC string of a password: $argon2id$...',
  'column credentials.created_at': 'When it was added.',
  'column credentials.expires_at': 'From then on it is refused, null: never; rotation gives the old ones an end.',

  'table audit_log': 'Every administrative act.',
  'column audit_log.id': 'In the order of the acts, with gaps.',
  'column audit_log.at': 'When.',
  'column audit_log.actor': 'Who: the id of a principal, or cli:{user}@{host}.',
  'column audit_log.act': 'What, such as credentials.add, credentials.revoke, dead_letters.discard or erase.',
  'column audit_log.target': 'To what or whom, null where there are several.',
  'column audit_log.details': 'What else there is to know about it; never a secret or a reading.'
}

/** Access: `principals`, `credentials`, and `audit_log`. */
export const principals: Migration = {
  async up (db: Kysely<unknown>): Promise<void> {
    for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
    for (const [object, comment] of Object.entries(COMMENTS)) {
      await sql`comment on ${sql.raw(object)} is ${sql.lit(comment)}`.execute(db)
    }
  }
}
