#!/bin/sh
# Makes the credentials that the first start needs, and none at a later one: one of an administrator, for the person who
# starts it, and one of an operator, for Prometheus. A container of its own runs it once, before the gateway.
# With the argument demo it makes those of the demo's devices, one for each recording.
set -eu
umask 077

make () { # ID ROLE FILE MODE
  [ -s "$3" ] && return
  # After an interruption the credential exists without its file. Its secret is lost, so it is replaced.
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
