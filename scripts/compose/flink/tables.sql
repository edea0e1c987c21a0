-- The tables of PostgreSQL that the job of Flink writes, in a schema and as a role of its own. Run as superuser, in the
-- database of the gateway; run again it changes nothing but the password.
\getenv password POSTGRES_FLINK_PASSWORD
select not exists (select from pg_roles where rolname = 'flink') as is_new \gset
\if :is_new
create role flink login;
\endif
alter role flink password :'password';

create schema if not exists flink;
create table if not exists flink.averages_5m (
  device text collate "C" not null,
  bucket bigint not null,
  time timestamptz not null generated always as (to_timestamp(bucket)) stored,
  readings bigint not null,
  heart_rate_count bigint not null, heart_rate_min numeric, heart_rate_max numeric, heart_rate_sum numeric,
  breath_rate_count bigint not null, breath_rate_min numeric, breath_rate_max numeric, breath_rate_sum numeric,
  breath_count bigint not null, breath_min numeric, breath_max numeric, breath_sum numeric,
  pulse_rate_count bigint not null, pulse_rate_min numeric, pulse_rate_max numeric, pulse_rate_sum numeric,
  blood_pressure_systolic_count bigint not null, blood_pressure_systolic_min numeric,
  blood_pressure_systolic_max numeric, blood_pressure_systolic_sum numeric,
  blood_pressure_diastolic_count bigint not null, blood_pressure_diastolic_min numeric,
  blood_pressure_diastolic_max numeric, blood_pressure_diastolic_sum numeric,
  spo2_count bigint not null, spo2_min numeric, spo2_max numeric, spo2_sum numeric,
  temperature_count bigint not null, temperature_min numeric, temperature_max numeric, temperature_sum numeric,
  primary key (device, bucket)
);
comment on table flink.averages_5m is 'Readings of a device in 5 minutes as Flink counted them; rollups_5m is the truth.';
comment on column flink.averages_5m.bucket is 'When the bucket begins, Unix seconds.';

create table if not exists flink.left_out (
  log_partition integer not null,
  log_offset bigint not null,
  logged timestamp not null,
  reason text not null,
  device text,
  measured numeric,
  id text,
  primary key (logged, log_partition, log_offset)
);
comment on table flink.left_out is 'Records of vital.readings that are not in flink.averages_5m, and why.';
comment on column flink.left_out.measured is 'The time of the reading, Unix seconds.';
comment on column flink.left_out.logged is 'When Kafka got the record, UTC.';

-- After a failure Flink counts again from its last checkpoint, and writes smaller counts than before. A bucket only
-- grows, so smaller counts are outdated.
create or replace function flink.keep_larger () returns trigger language plpgsql as $$
  begin
    return null;
  end
$$;
create or replace trigger keep_larger before update on flink.averages_5m
  for each row when (new.readings < old.readings) execute function flink.keep_larger();

grant usage on schema flink to flink;
grant select, insert, update on flink.averages_5m, flink.left_out to flink;
-- Where there is Grafana, it reads both.
select to_regrole('grafana') is not null as has_grafana \gset
\if :has_grafana
grant usage on schema flink to grafana;
grant select on flink.averages_5m, flink.left_out to grafana;
\endif
