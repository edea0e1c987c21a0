import { type Kysely, type Migration, sql } from 'kysely'

/**
 * The rates of `latest` are written by the upsert instead of being generated. For a generated column PostgreSQL reads
 * and plans its expression anew for each statement: 60 to 100 us of a batch of any size, a quarter of one of 25
 * devices, and 2 us a row.
 */
export const plainRates: Migration = {
  async up (db: Kysely<unknown>): Promise<void> {
    await sql`alter table latest alter column heart_rate drop expression, alter column breath_rate drop expression`.execute(db)
    await sql`create function vital_breath_rate (vitals jsonb, times jsonb, new_vitals jsonb, new_times jsonb)
      returns float8 language plpgsql immutable parallel safe as $$
        declare
          rate_time float8 := (times->'breathRateValue')::float8;
          rate float8 := (vitals->'breathRateValue')::float8;
          older_name_time float8 := (times->'breathValue')::float8;
          older_name float8 := (vitals->'breathValue')::float8;
        begin
          if rate_time is null or (new_times->'breathRateValue')::float8 >= rate_time then
            rate_time := coalesce((new_times->'breathRateValue')::float8, rate_time);
            rate := coalesce((new_vitals->'breathRateValue')::float8, rate);
          end if;
          if older_name_time is null or (new_times->'breathValue')::float8 >= older_name_time then
            older_name_time := coalesce((new_times->'breathValue')::float8, older_name_time);
            older_name := coalesce((new_vitals->'breathValue')::float8, older_name);
          end if;
          return case when rate_time is null or older_name_time > rate_time then older_name else rate end;
        end
      $$`.execute(db)
    await sql`comment on function vital_breath_rate is
      'For the upsert of latest: breathRateValue or its older name breathValue, whichever is newer.'`.execute(db)
  }
}
