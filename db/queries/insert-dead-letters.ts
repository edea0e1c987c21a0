import { type Kysely, sql } from 'kysely'
import { type BinaryWriter, OID, toArrayParameter } from '../binary.ts'
import type { DeadLetterRow } from '../rows.ts'
import type { Tables } from '../tables.ts'

const uuidBytes = (id: string) => Buffer.from(id.replaceAll('-', ''), 'hex').toString('latin1')

function textOrNull (writer: BinaryWriter, value: string | null): void {
  if (value === null) writer.null()
  else writer.text(toStorableText(value))
}

/** PostgreSQL's text cannot hold U+0000, and a letter must not fail on what it reports. */
function toStorableText (text: string): string {
  return text.replaceAll('\0', '\u2400').toWellFormed()
}

/** Keeps what was refused, each letter once however often the batch is retried. */
export function insertDeadLetters (kysely: Kysely<Tables>, rows: readonly DeadLetterRow[]) {
  const ids = toArrayParameter(OID.uuid, rows, 20, (writer, row) => writer.uuid(uuidBytes(row.id)))
  const received = toArrayParameter(OID.timestamptz, rows, 12, (writer, row) => writer.timestamptz(row.receivedAtMs * 1000))
  const transports = toArrayParameter(OID.text, rows, 8, (writer, row) => writer.text(row.transport))
  const topics = toArrayParameter(OID.text, rows, 64, (writer, row) => textOrNull(writer, row.topic))
  const clientIds = toArrayParameter(OID.text, rows, 64, (writer, row) => textOrNull(writer, row.clientId))
  const devices = toArrayParameter(OID.text, rows, 36, (writer, row) => textOrNull(writer, row.device))
  const reasons = toArrayParameter(OID.text, rows, 20, (writer, row) => writer.text(row.reason))
  const errors = toArrayParameter(OID.jsonb, rows, 160, (writer, row) => writer.jsonb(JSON.stringify(row.errors.map((fault) => ({
    path: toStorableText(fault.path), message: toStorableText(fault.message)
  })))))
  const payloads = toArrayParameter(OID.bytea, rows, 512, (writer, row) => writer.bytea(row.payload))
  return sql`
    insert into dead_letters (id, received_at, transport, topic, client_id, device, reason, errors, payload)
    select * from unnest(
      ${ids}::uuid[], ${received}::timestamptz[], ${transports}::text[], ${topics}::text[], ${clientIds}::text[],
      ${devices}::text[], ${reasons}::text[], ${errors}::jsonb[], ${payloads}::bytea[])
    on conflict (id) do nothing
  `.compile(kysely)
}
