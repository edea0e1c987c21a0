#!/bin/sh
# Makes the topics once Kafka is there, and the file of its password for gateways and sinks. A container of its own runs it
# before them; run again it changes nothing.
: "${KAFKA_PASSWORD:?set KAFKA_PASSWORD in .env}"
set -eu
umask 077

printf %s "$KAFKA_PASSWORD" > "$KAFKA_SASL_PASSWORD_FILE.new"
mv "$KAFKA_SASL_PASSWORD_FILE.new" "$KAFKA_SASL_PASSWORD_FILE"

# A port that is open is not a quorum yet.
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
  vital-gateway topics make && exit
  sleep 4
done
exit 1
