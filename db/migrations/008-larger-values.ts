import { type Kysely, type Migration, sql } from 'kysely'
import { CREATE_IS_LARGER } from '../json-order.ts'
import { STORED_BYTES_MAX } from './004-merge-fields.ts'

const KEPT_FIELDS_MAX = 1000
const KEPT_BYTES_MAX = 32_768

/** Vital signs are never trimmed: devices exist to send them, and the rates of `latest` follow from them. */
const KNOWN_FIELDS = '{heartRateValue,breathRateValue,breathValue,pulseRateValue,' +
  'bloodPressureSystolic,bloodPressureDiastolic,spo2Value,temperatureValue}'

const STATEMENTS = [
  CREATE_IS_LARGER,
  `create or replace function vital_merge_fields (vitals jsonb, times jsonb, new_vitals jsonb, new_times jsonb, gives_times boolean)
    returns jsonb language plpgsql immutable parallel safe as $$
      declare
        beaten constant text[] := array(select key from jsonb_each(new_times) where (times->key)::float8 > value::float8
          or ((times->key)::float8 = value::float8 and vital_is_larger(vitals->key, new_vitals->key)));
      begin
        if pg_column_size(vitals) + pg_column_size(times) > ${STORED_BYTES_MAX} then
          return vital_bound_fields(vitals || (new_vitals - beaten), times || (new_times - beaten), gives_times);
        end if;
        return case when gives_times then times || (new_times - beaten) else vitals || (new_vitals - beaten) end;
      end
    $$`,
  'drop function vital_bound_fields (jsonb, jsonb, jsonb, jsonb, boolean)',
  'create function vital_bound_fields (vitals jsonb, times jsonb, gives_times boolean) returns jsonb ' +
  `language sql immutable parallel safe as $$
    select coalesce(jsonb_object_agg(key, case when gives_times then time else value end), '{}') from (
      select key, value, time,
        row_number() over newest as place,
        sum(length(key) + pg_column_size(value)) over newest as bytes,
        max(time::float8) over () as newest_time
      from (select v.key, v.value, t.value as time from jsonb_each(vitals) v join jsonb_each(times) t using (key)) fields
      window newest as (order by time::float8 desc, key)
    ) placed
    where (place <= ${KEPT_FIELDS_MAX} and bytes <= ${KEPT_BYTES_MAX}) or time::float8 >= newest_time or key = any('${KNOWN_FIELDS}')
  $$`,
  `create or replace function vital_breath_rate (vitals jsonb, times jsonb, new_vitals jsonb, new_times jsonb)
    returns float8 language plpgsql immutable parallel safe as $$
      declare
        rate_time constant float8 := greatest((times->'breathRateValue')::float8, (new_times->'breathRateValue')::float8);
        older_name_time constant float8 := greatest((times->'breathValue')::float8, (new_times->'breathValue')::float8);
        name constant text := case when rate_time is null or older_name_time > rate_time then 'breathValue' else 'breathRateValue' end;
        name_time constant float8 := case name when 'breathValue' then older_name_time else rate_time end;
      begin
        return greatest(
          case when (times->name)::float8 = name_time then (vitals->name)::float8 end,
          case when (new_times->name)::float8 = name_time then (new_vitals->name)::float8 end);
      end
    $$`
]

const COMMENTS = {
  vital_is_larger: 'The one total order of JSON values, by which of two values of one instant one is the latest: null, strings, ' +
    'numbers, booleans, arrays, objects.',
  vital_merge_fields: 'For the upsert of latest: of each field the value with the newest time, of two at that time the larger; of a ' +
    'row over 32 KiB the newest fields.',
  vital_bound_fields: 'For vital_merge_fields: what is left of a row over 32 KiB. Vital signs are never left out.',
  vital_breath_rate: 'For the upsert of latest: breathRateValue or its older name breathValue, whichever is newer; of two at that time ' +
    'the larger.'
}

/**
 * Of two values at the very same instant the larger one is the latest, whichever came first; vital signs outlive the
 * bound of a row.
 */
export const largerValues: Migration = {
  async up (db: Kysely<unknown>): Promise<void> {
    for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
    for (const [name, comment] of Object.entries(COMMENTS)) {
      await sql`comment on function ${sql.raw(name)} is ${sql.lit(comment)}`.execute(db)
    }
  }
}
