#!/bin/sh
# Starts Redis with one user, vital, whose password is in the environment (letters and digits). No other user gets in.
: "${REDIS_PASSWORD:?set REDIS_PASSWORD in .env}"
set -eu
umask 077
users=/tmp/users.acl
echo 'user default off' > "$users"
# What gateways may call, on their own keys: no administration of the server, and no command that reads all keys.
echo "user vital on >$REDIS_PASSWORD ~vital:* resetchannels -@all +@read +@write +@connection -@dangerous +eval +evalsha +script|load +time +info" >> "$users"
# Arguments are options of Redis.
exec redis-server /etc/redis/redis.conf --aclfile "$users" "$@"
