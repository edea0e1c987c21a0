import { type RawBuilder, sql } from 'kysely'

/** Conditions for dead letters; one that is left out does not restrict. */
export interface DeadLetterFilter {
  readonly device?: string | undefined
  readonly reason?: string | undefined
  /** Received then or later, Unix seconds. */
  readonly since?: number | undefined
  /** Received before, Unix seconds. */
  readonly until?: number | undefined
}

/** The condition of a filter, for `where`. */
export function matchesFilter ({ device, reason, since, until }: DeadLetterFilter): RawBuilder<boolean> {
  const conditions = [sql<boolean>`true`]
  // No text column holds U+0000, and PostgreSQL refuses it in a parameter.
  if (device !== undefined) conditions.push(device.includes('\0') ? sql`false` : sql`device = ${device}`)
  if (reason !== undefined) conditions.push(sql`reason = ${reason}`)
  if (since !== undefined) conditions.push(sql`received_at >= to_timestamp(${since})`)
  if (until !== undefined) conditions.push(sql`received_at < to_timestamp(${until})`)
  return sql`${sql.join(conditions, sql` and `)}`
}

/**
 * A letter without its payload, as the schema of dead letters tells it. Times leave as float8, which keeps
 * microseconds.
 */
export const DEAD_LETTER_COLUMNS = sql`
  id, extract(epoch from received_at)::float8 as "receivedAt", transport, topic, client_id as "clientId", device as "deviceId",
  reason, errors, octet_length(payload) as "payloadBytes"`
