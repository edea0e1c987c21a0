#!/bin/sh
# Starts the job of averages.sql on a Flink of its own, from its last checkpoint where there is one. From the environment:
#   FLINK_JARS               the directory of the jars that pom.xml brings
#   FLINK_STATE_DIR          state and checkpoints; an empty one starts anew, with the first record that Kafka has
#   FLINK_DATABASE_URL       jdbc:postgresql://host:5432/vital
#   FLINK_DATABASE_USER, FLINK_DATABASE_PASSWORD
#   KAFKA_BROKERS            as for the gateway
#   KAFKA_SASL_PASSWORD_FILE, KAFKA_SASL_USERNAME, KAFKA_SASL_MECHANISM   where Kafka asks for a login, by SCRAM
#   KAFKA_TLS                true: TLS, with the authorities that Java knows
#   FLINK_LATENESS_S         a reading that Kafka gets later than this after its time is left out: 86400
#   FLINK_AHEAD_S            and one that is this much ahead of it: 3600
#   FLINK_OUTAGE_S           the job may be this long behind Kafka: 172800
#   FLINK_CHECKPOINT_S       between two checkpoints: 30
#   FLINK_PARALLELISM        threads of each step: 2
#   FLINK_METRICS_PORT       for Prometheus, on all addresses: 9249
#   FLINK_HEAP_OPTS          memory: -Xmx1g
: "${FLINK_JARS:?set FLINK_JARS}" "${FLINK_STATE_DIR:?set FLINK_STATE_DIR}" "${KAFKA_BROKERS:?set KAFKA_BROKERS}"
: "${FLINK_DATABASE_URL:?set FLINK_DATABASE_URL}" "${FLINK_DATABASE_USER:?set FLINK_DATABASE_USER}"
: "${FLINK_DATABASE_PASSWORD:?set the password of the role flink}"
set -eu
umask 077

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$FLINK_STATE_DIR"
FLINK_STATE_DIR=$(cd "$FLINK_STATE_DIR" && pwd)
lateness=${FLINK_LATENESS_S-86400}
ahead=${FLINK_AHEAD_S-3600}
outage=${FLINK_OUTAGE_S-172800}

# Between the first and the last reading of a bucket that are counted Kafka's clock passes lateness + ahead + 300 s at most,
# and Flink reads the last one up to `outage` later. An hour more for records under way within Flink.
span=$((lateness + ahead + 300 + outage))

newest=$(ls -t "$FLINK_STATE_DIR"/checkpoints/*/chk-*/_metadata 2> /dev/null | head -n 1)
if [ -z "$newest" ]; then
  rm -rf "$FLINK_STATE_DIR/checkpoints"
  echo "$(date +%s) $lateness $ahead $outage" > "$FLINK_STATE_DIR/started"
else
  export FLINK_CHECKPOINT="file://${newest%/_metadata}"
fi
read -r started was < "$FLINK_STATE_DIR/started"
if [ "$was" != "$lateness $ahead $outage" ]; then
  # State that ended under the former settings may be missing.
  echo "the state of $FLINK_STATE_DIR was made with lateness, ahead and outage of $was s: set these, or start anew (README.md)" >&2
  exit 1
fi
rm -rf "$FLINK_STATE_DIR/rocksdb" "$FLINK_STATE_DIR/conf" "$FLINK_STATE_DIR/tmp"
mkdir "$FLINK_STATE_DIR/conf" "$FLINK_STATE_DIR/tmp"
{
  cat "$here/config.yaml"
  echo "taskmanager.numberOfTaskSlots: ${FLINK_PARALLELISM-2}"
  echo "metrics.reporter.prometheus.port: ${FLINK_METRICS_PORT-9249}"
} > "$FLINK_STATE_DIR/conf/config.yaml"

tls=${KAFKA_TLS-false}
protocol=PLAINTEXT
[ "$tls" != true ] || protocol=SSL
password=
if [ -n "${KAFKA_SASL_PASSWORD_FILE-}" ]; then
  protocol=SASL_PLAINTEXT
  [ "$tls" != true ] || protocol=SASL_SSL
  password=$(cat "$KAFKA_SASL_PASSWORD_FILE")
fi
# The connector has a copy of Kafka's client under another name.
module=org.apache.flink.kafka.shaded.org.apache.kafka.common.security.scram.ScramLoginModule
export FLINK_KAFKA_PROTOCOL=$protocol FLINK_KAFKA_MECHANISM="${KAFKA_SASL_MECHANISM-SCRAM-SHA-512}"
export FLINK_KAFKA_LOGIN="$module required username=\"${KAFKA_SASL_USERNAME-vital}\" password=\"$password\";"
export FLINK_STATE_DIR KAFKA_BROKERS FLINK_DATABASE_URL FLINK_DATABASE_USER FLINK_DATABASE_PASSWORD
export FLINK_LATENESS_S="$lateness" FLINK_AHEAD_S="$ahead" FLINK_OUTAGE_S="$outage"
export FLINK_STATE_S=$((span + 3600)) FLINK_WHOLE_UNTIL_S=$((started + span))
export FLINK_CHECKPOINT_S="${FLINK_CHECKPOINT_S-30}" FLINK_PARALLELISM="${FLINK_PARALLELISM-2}"
export FLINK_CONF_DIR="$FLINK_STATE_DIR/conf"

opens=
for package in lang lang.invoke lang.reflect util util.concurrent util.concurrent.atomic util.concurrent.locks io net nio time text; do
  opens="$opens --add-opens=java.base/java.$package=ALL-UNNAMED"
done
# Native libraries are unpacked and run there; the /tmp of a container may forbid that.
# shellcheck disable=SC2086
exec java ${FLINK_HEAP_OPTS--Xmx1g} $opens "-Djava.io.tmpdir=$FLINK_STATE_DIR/tmp" "-Dlog4j2.configurationFile=$here/log4j2.properties" \
  -cp "$FLINK_JARS/*" RunSql "$here/averages.sql"
