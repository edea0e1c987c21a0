import { type Kysely, sql } from 'kysely'
import { OID, toArrayParameter } from '../binary.ts'
import type { LatestRow } from '../fold-latest.ts'
import type { Tables } from '../tables.ts'

/**
 * Stored bytes of one device's `latest` beyond which its oldest fields are forgotten. Without a bound a device that invents
 * names makes each batch rewrite all of them: after 150 readings of 900 new names an upsert took 400 ms, for everyone.
 */
const STORED_BYTES_MAX = 32_768
/** What is then kept: the newest fields, up to so many and so many bytes, and in any case those of the newest reading. */
const KEPT_FIELDS_MAX = 1000
const KEPT_BYTES_MAX = 32_768

/**
 * Lays one batch over `latest`, field by field: the newest value of each field wins, whatever order batches arrive in.
 * `||` where nothing in the batch is older than the row (38 ms for 5,000 rows), a merge key by key where something is (85 ms).
 * @param rows - one a device, sorted by device
 */
export function upsertLatest (kysely: Kysely<Tables>, rows: readonly LatestRow[]) {
  return upsertLatestRows(rows).compile(kysely)
}

/** The fields of stored row and batch that a row over its bound keeps. */
const KEPT = sql`
  select key, value, time from (
    select key, value, time,
      row_number() over newest as place,
      sum(length(key) + pg_column_size(value)) over newest as bytes,
      max(time) over () as newest_time
    from (
      select distinct on (key) key, value, time from (
        select v.key, v.value, t.value::float8 as time, 0 as batch from jsonb_each(l.vitals) v join jsonb_each(l.vital_times) t using (key)
        union all
        select v.key, v.value, t.value::float8, 1 from jsonb_each(excluded.vitals) v join jsonb_each(excluded.vital_times) t using (key)
      ) fields order by key, time desc, batch desc
    ) merged window newest as (order by time desc, key)
  ) placed where (place <= ${sql.lit(KEPT_FIELDS_MAX)} and bytes <= ${sql.lit(KEPT_BYTES_MAX)}) or time >= newest_time`

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
      vitals = case when pg_column_size(l.vitals) + pg_column_size(l.vital_times) > ${sql.lit(STORED_BYTES_MAX)} then (
        select coalesce(jsonb_object_agg(k.key, k.value), '{}') from (${KEPT}) k) when excluded.oldest_time >= l.time then l.vitals || excluded.vitals else l.vitals || (
        select coalesce(jsonb_object_agg(n.key, n.value), '{}') from jsonb_each(excluded.vitals) n
        where (excluded.vital_times -> n.key)::float8 >= coalesce((l.vital_times -> n.key)::float8, '-Infinity')) end,
      vital_times = case when pg_column_size(l.vitals) + pg_column_size(l.vital_times) > ${sql.lit(STORED_BYTES_MAX)} then (
        select coalesce(jsonb_object_agg(k.key, k.time), '{}') from (${KEPT}) k) when excluded.oldest_time >= l.time then l.vital_times || excluded.vital_times else l.vital_times || (
        select coalesce(jsonb_object_agg(n.key, n.value), '{}') from jsonb_each(excluded.vital_times) n
        where n.value::float8 >= coalesce((l.vital_times -> n.key)::float8, '-Infinity')) end
  `
}
