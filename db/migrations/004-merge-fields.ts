import { type Kysely, type Migration, sql } from 'kysely'

/** Stored bytes of one device's fields beyond which its oldest are forgotten; also in `queries/upsert-latest.ts`. */
export const STORED_BYTES_MAX = 32_768
/**
 * The newest fields are then kept, up to this number and these bytes, and in any case those of the newest reading.
 */
const KEPT_FIELDS_MAX = 1000
const KEPT_BYTES_MAX = 32_768

/**
 * The rare cases of the upsert of `latest`, as a function: a reading that is older than the row in some field, and a
 * row over its bound. As subqueries of the upsert they cost 0.2 ms in each batch that needs neither.
 */
export const mergeFields: Migration = {
  async up (db: Kysely<unknown>): Promise<void> {
    await sql`create function vital_merge_fields (vitals jsonb, times jsonb, new_vitals jsonb, new_times jsonb, gives_times boolean)
      returns jsonb language sql immutable parallel safe as $$
        select coalesce(jsonb_object_agg(key, case when gives_times then time else value end), '{}') from (
          select key, value, time,
            row_number() over newest as place,
            sum(length(key) + pg_column_size(value)) over newest as bytes,
            max(time::float8) over () as newest_time
          from (
            select distinct on (key) key, value, time from (
              select v.key, v.value, t.value as time, 0 as batch from jsonb_each(vitals) v join jsonb_each(times) t using (key)
              union all
              select v.key, v.value, t.value, 1 from jsonb_each(new_vitals) v join jsonb_each(new_times) t using (key)
            ) fields order by key, time::float8 desc, batch desc
          ) merged window newest as (order by time::float8 desc, key)
        ) placed
        where pg_column_size(vitals) + pg_column_size(times) <= ${sql.lit(STORED_BYTES_MAX)}
          or (place <= ${sql.lit(KEPT_FIELDS_MAX)} and bytes <= ${sql.lit(KEPT_BYTES_MAX)}) or time::float8 >= newest_time
      $$`.execute(db)
    await sql`comment on function vital_merge_fields is
      'For the upsert of latest: of each field the value with the newest time; of a row over 32 KiB the newest fields.'`.execute(db)
  }
}
