#!/bin/sh
# Makes the credentials that the first start needs, and nothing at a later one: an administrator's, for the person who
# started it, and an operator's, for Prometheus. A container of its own runs it once, before the gateway.
# With the argument demo it makes those of the devices that the recordings are played as.
set -eu
umask 077

make () { # ID ROLE FILE MODE
  [ -s "$3" ] && return
  # It exists without its file where this was interrupted; then its secret was seen by nobody and is replaced.
  vital-gateway credentials add "$1" --role "$2" > "$3.new" ||
    vital-gateway credentials rotate "$1" > "$3.new"
  chmod "$4" "$3.new"
  mv "$3.new" "$3"
}

if [ "${1-}" = demo ]; then
  cd /var/lib/demo-credentials
  [ -s devices.csv ] && exit
  echo id,role,secret > devices.csv.new
  for recording in /app/test/fixtures/bidmc/bidmc_*_Numerics.csv; do
    number=${recording##*/bidmc_}
    id=bidmc-${number%_Numerics.csv}
    make "$id" device "$id.secret" 600
    echo "$id,device,$(cat "$id.secret")" >> devices.csv.new
  done
  mv devices.csv.new devices.csv
  exit
fi

make admin admin /var/lib/vital-gateway/admin.secret 600
# Prometheus runs as another user; no other container mounts this volume.
make prometheus operator /var/lib/prometheus-credentials/secret 644
