import { type Kysely, sql } from 'kysely'
import { type BinaryWriter, toUuidBytes } from '../write/binary.ts'
import { type Step, toStatement } from '../write/pipeline.ts'
import type { DeadLetterRow } from '../rows.ts'
import type { Tables } from '../tables.ts'
import { type Column, unnest, withRows } from '../write/unnest.ts'

function textOrNull (writer: BinaryWriter, value: string | null): void {
  if (value === null) writer.null()
  else writer.text(toStorableText(value))
}

/** PostgreSQL's text cannot hold U+0000, and a letter must not fail because of the input that it reports. */
function toStorableText (text: string): string {
  return text.replaceAll('\0', '\u2400').toWellFormed()
}

const COLUMNS: ReadonlyArray<Column<DeadLetterRow>> = [
  { type: 'uuid', write: (writer, row) => writer.uuid(toUuidBytes(row.id)) },
  { type: 'timestamptz', write: (writer, row) => writer.timestamptz(row.receivedAtMs * 1000) },
  { type: 'text', write: (writer, row) => writer.text(row.transport) },
  { type: 'text', write: (writer, row) => textOrNull(writer, row.topic) },
  { type: 'text', write: (writer, row) => textOrNull(writer, row.clientId) },
  { type: 'text', write: (writer, row) => textOrNull(writer, row.device) },
  { type: 'text', write: (writer, row) => writer.text(row.reason) },
  { type: 'jsonb', write: (writer, row) => writer.jsonb(toErrorsJson(row)) },
  { type: 'bytea', write: (writer, row) => writer.bytea(row.payload) }
]

function toErrorsJson ({ errors }: DeadLetterRow): string {
  return JSON.stringify(errors.map(({ path, message }) => ({
    path: toStorableText(path), message: toStorableText(message)
  })))
}

/** Inserts dead letters, each once however often the batch is retried. */
export function insertDeadLetters (kysely: Kysely<Tables>): (rows: readonly DeadLetterRow[]) => Step {
  const statement = toStatement(sql`
    insert into dead_letters (id, received_at, transport, topic, client_id, device, reason, errors, payload)
    select * from ${unnest(COLUMNS)}
    on conflict (id) do nothing
  `.compile(kysely).sql)
  return (rows) => withRows(statement, COLUMNS, rows, 1024)
}
