#!/bin/sh
# Lets a replica follow the primary, also one whose data exists already: adds a role and a line of pg_hba.conf, and
# bounds the log that is kept for a replica that is away. A container of its own runs it, with the data of the primary
# mounted and PGHOST, PGUSER and PGPASSWORD of its superuser. Run again it changes nothing but the password.
: "${POSTGRES_REPLICATION_PASSWORD:?set POSTGRES_REPLICATION_PASSWORD in .env}"
set -eu

psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --dbname=postgres <<'SQL'
\getenv password POSTGRES_REPLICATION_PASSWORD
select not exists (select from pg_roles where rolname = 'replica') as is_new \gset
\if :is_new
create role replica login replication;
\endif
alter role replica password :'password';
-- A slot of a replica that does not come back would fill the disk of the primary, and so stop acknowledgements.
alter system set max_slot_wal_keep_size = '8GB';
SQL

hba_file=$(psql --no-psqlrc --tuples-only --no-align --dbname=postgres --command='show hba_file')
# From the networks of the server alone. `all` in the line of the image does not mean replication.
line='host replication replica samenet scram-sha-256'
grep --quiet --line-regexp "$line" "$hba_file" || echo "$line" >> "$hba_file"
psql --no-psqlrc --quiet --dbname=postgres --output=/dev/null --command='select pg_reload_conf()'
