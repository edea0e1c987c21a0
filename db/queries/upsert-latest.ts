import { type Kysely, sql } from 'kysely'
import { OID, toArrayParameter } from '../binary.ts'
import type { LatestRow } from '../fold-latest.ts'
import type { Tables } from '../tables.ts'

/**
 * Lays one batch over `latest`, field by field: the newest value of each field wins, whatever order batches arrive in.
 * `||` where nothing in the batch is older than the row (38 ms for 5,000 rows), a merge key by key where something is (85 ms).
 * @param rows - one a device, sorted by device
 */
export function upsertLatest (kysely: Kysely<Tables>, rows: readonly LatestRow[]) {
  return upsertLatestRows(rows).compile(kysely)
}

/** The statement of {@link upsertLatest}, for use in a larger one. */
export function upsertLatestRows (rows: readonly LatestRow[]) {
  const devices = toArrayParameter(OID.text, rows, 36, (writer, row) => writer.text(row.device))
  const times = toArrayParameter(OID.timestamptz, rows, 12, (writer, row) => writer.timestamptz(row.timeUs))
  const oldest = toArrayParameter(OID.timestamptz, rows, 12, (writer, row) => writer.timestamptz(row.oldestTimeUs))
  const vitals = toArrayParameter(OID.jsonb, rows, 160, (writer, row) => writer.jsonb(row.vitals))
  const vitalTimes = toArrayParameter(OID.jsonb, rows, 160, (writer, row) => writer.jsonb(row.vitalTimes))
  return sql`
    insert into latest as l (device, time, oldest_time, vitals, vital_times)
    select * from unnest(
      ${devices}::text[], ${times}::timestamptz[], ${oldest}::timestamptz[], ${vitals}::jsonb[], ${vitalTimes}::jsonb[])
    on conflict (device) do update set
      time = greatest(l.time, excluded.time),
      oldest_time = least(l.oldest_time, excluded.oldest_time),
      vitals = case when excluded.oldest_time >= l.time then l.vitals || excluded.vitals else l.vitals || (
        select coalesce(jsonb_object_agg(n.key, n.value), '{}') from jsonb_each(excluded.vitals) n
        where (excluded.vital_times -> n.key)::float8 >= coalesce((l.vital_times -> n.key)::float8, '-Infinity')) end,
      vital_times = case when excluded.oldest_time >= l.time then l.vital_times || excluded.vital_times else l.vital_times || (
        select coalesce(jsonb_object_agg(n.key, n.value), '{}') from jsonb_each(excluded.vital_times) n
        where n.value::float8 >= coalesce((l.vital_times -> n.key)::float8, '-Infinity')) end
  `
}
