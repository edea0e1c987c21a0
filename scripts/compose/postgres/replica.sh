#!/bin/sh
# A streaming replica: copies the primary when its own volume is new, and follows it from there. PGDATA is its data
# directory; PGHOST, PGUSER and PGPASSWORD are of the primary. Arguments go to the server.
: "${PGPASSWORD:?set POSTGRES_REPLICATION_PASSWORD in .env}"
set -eu
umask 077

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # Removes an interrupted copy and its slot. The new copy makes the slot again.
  rm -rf "$PGDATA" "$PGDATA.new"
  mkdir -p "$(dirname "$PGDATA")"
  psql --no-psqlrc --quiet --dbname="replication=true" --command='DROP_REPLICATION_SLOT replica_1' || true
  pg_basebackup --pgdata="$PGDATA.new" --wal-method=stream --checkpoint=fast --write-recovery-conf --create-slot --slot=replica_1
  mv "$PGDATA.new" "$PGDATA"
fi
exec postgres -D "$PGDATA" "$@"
