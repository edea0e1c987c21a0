#!/bin/sh
# Starts a broker of Kafka, by broker.properties and log4j2.properties beside this file. Its first start prepares its data
# directory, with one user, vital. From the environment, with what is used without them: three brokers on one machine.
#   KAFKA_NODE_ID          1, 2 or 3
#   KAFKA_PASSWORD         of the user, equal for all three; letters and digits; it counts at the first start
#   KAFKA_HOST             where clients and the other brokers find it: 127.0.0.1
#   KAFKA_PORT             19192, 19292, 19392
#   KAFKA_CONTROLLER_PORT  19193, 19293, 19393
#   KAFKA_VOTERS           the controllers of all three, as id@host:port
#   KAFKA_BIND             where it listens: 127.0.0.1
#   KAFKA_DATA_DIR         data-kafka-1, and so on
#   KAFKA_JARS             the directory of Kafka's jars: that of its image
#   KAFKA_HEAP_OPTS        memory: -Xmx384m
: "${KAFKA_NODE_ID:?set KAFKA_NODE_ID to 1, 2 or 3}" "${KAFKA_PASSWORD:?set KAFKA_PASSWORD}"
set -eu
umask 077

here=$(dirname "$0")
id=$KAFKA_NODE_ID
bind=${KAFKA_BIND-127.0.0.1}
port=${KAFKA_PORT-19${id}92}
controller_port=${KAFKA_CONTROLLER_PORT-19${id}93}
host=${KAFKA_HOST-127.0.0.1}
data=${KAFKA_DATA_DIR-data-kafka-$id}
jars=${KAFKA_JARS-/opt/kafka/libs}
login="username=\"vital\" password=\"$KAFKA_PASSWORD\""
mkdir -p "$data"
properties=$data/broker.properties

{
  cat "$here/broker.properties"
  cat <<END
node.id=$id
controller.quorum.voters=${KAFKA_VOTERS-1@127.0.0.1:19193,2@127.0.0.1:19293,3@127.0.0.1:19393}
listeners=CLIENTS://$bind:$port,CONTROLLER://$bind:$controller_port
advertised.listeners=CLIENTS://$host:$port
log.dirs=$data/log
listener.name.clients.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required $login;
listener.name.controller.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required $login user_vital="$KAFKA_PASSWORD";
END
} > "$properties"

java="java -Dlog4j2.configurationFile=$here/log4j2.properties"
if [ ! -s "$data/log/meta.properties" ]; then
  # In a file, because other users see a command line. It prints the digests of the password.
  printf 'SCRAM-SHA-512=[name=vital,password=%s]\n' "$KAFKA_PASSWORD" > "$data/scram"
  # Any id of 16 bytes in base64; brokers of another one are refused.
  $java -Xmx64m -cp "$jars/*" kafka.tools.StorageTool format --cluster-id dml0YWwtZ2F0ZXdheS0wMQ \
    --config "$properties" --add-scram "@$data/scram" > /dev/null
  rm "$data/scram"
fi
exec $java ${KAFKA_HEAP_OPTS--Xmx384m} -cp "$jars/*" kafka.Kafka "$properties"
