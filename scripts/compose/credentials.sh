#!/bin/sh
# Makes the credentials that the first start needs, and nothing at a later one: an administrator's, for the person who
# started it, and an operator's, for Prometheus. A container of its own runs it once, before the gateway.
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

make admin admin /var/lib/vital-gateway/admin.secret 600
# Prometheus runs as another user; no other container mounts this volume.
make prometheus operator /var/lib/prometheus-credentials/secret 644
