-- Makes `readings` a hypertable of TimescaleDB 2.13 or newer, with compression. Not tested with it: see README.md.
--
--   psql --single-transaction -v ON_ERROR_STOP=1 -f hypertable.sql "$DATABASE_URL"
--
-- Stop every gateway and sink first. The script copies all readings, so it needs their disk space twice.

create extension if not exists timescaledb;

lock table readings in access exclusive mode;
alter table readings rename to readings_by_month;
create table readings (like readings_by_month including all);

-- The primary key holds the time, as TimescaleDB requires of a unique index.
select create_hypertable('readings', by_range('time', interval '7 days'), create_default_indexes => false);

insert into readings select * from readings_by_month;
drop table readings_by_month;
comment on table readings is 'Every accepted reading, in chunks of its time; one row per device, time and hash.';

-- Readings for a compressed chunk are still accepted. An erasure decompresses the chunks that hold the device.
alter table readings set (timescaledb.compress, timescaledb.compress_segmentby = 'device', timescaledb.compress_orderby = 'time desc, hash');
select add_compression_policy('readings', interval '30 days');
