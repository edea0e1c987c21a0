#!/bin/sh
# Makes the tables of Flink in the gateway's database, by tables.sql beside this file, with PGHOST, PGUSER and PGPASSWORD
# of the superuser, and PGDATABASE. A container of its own runs it; run again it changes nothing but the password.
: "${POSTGRES_FLINK_PASSWORD:?set POSTGRES_FLINK_PASSWORD in .env}"
set -eu
exec psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --file="$(dirname "$0")/tables.sql"
