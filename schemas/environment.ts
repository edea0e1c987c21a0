import Type, { type Static } from 'typebox'
import { Compile } from 'typebox/compile'
import { type Fault, toFaults } from './fault.ts'

const MIB = 1024 * 1024

const integer = (description: string, byDefault: number, minimum: number, maximum: number) =>
  Type.Integer({ description, default: byDefault, minimum, maximum })
const text = (description: string, byDefault: string) => Type.String({ description, default: byDefault })

/**
 * Every environment variable: the one list behind the checks of the start, `.env.example`, `compose.yaml` and
 * src/README.md.
 */
export const EnvironmentSchema = Type.Object({
  DATABASE_URL: Type.Optional(Type.String({ description: 'PostgreSQL (14 or later) to use; unset: an embedded one' })),
  DATABASE_READ_URL: Type.Optional(Type.String({
    description: 'Replicas of that PostgreSQL for reads: URLs, separated by commas; unset: the primary answers all'
  })),
  REDIS_URL: Type.Optional(Type.String({
    description: 'Redis (6.2 or later) that several gateways share, redis:// or rediss://, with user and password; ' +
    'unset: this gateway stands alone'
  })),
  VITAL_LATEST_CACHE: Type.Enum(['memory', 'redis'], {
    description: 'Where the order of the latest states is kept: in the memory of one gateway, or in REDIS_URL, which several share; the ' +
    'same at every gateway',
    default: 'memory'
  }),
  VITAL_JOURNAL: Type.Enum(['postgres', 'kafka'], {
    description: 'Where readings are written before they are acknowledged: PostgreSQL, or Kafka, from which vital-gateway sink stores them',
    default: 'postgres'
  }),
  VITAL_ACK_AFTER: Type.Enum(['replicas', 'spool'], {
    description: 'With Kafka, an acknowledgement waits for its in-sync replicas, or for the fsync of the spool on ' +
    'this machine, from which Kafka gets the readings later',
    default: 'replicas'
  }),
  VITAL_KAFKA_ALLOW_WEAK: Type.Boolean({
    description: 'Start also where a topic of Kafka would lose acknowledged readings together with one machine',
    default: false
  }),
  KAFKA_BROKERS: Type.Optional(Type.String({
    description: 'Brokers of Kafka (4.0 or later) to start from, host:port, separated by commas; unset: no Kafka'
  })),
  KAFKA_TLS: Type.Boolean({ description: 'Connections to Kafka inside TLS', default: false }),
  KAFKA_TLS_CA_FILE: text('Authorities (PEM) of its certificates; unset: those that Node.js trusts', ''),
  KAFKA_SASL_MECHANISM: Type.Optional(Type.Enum(['SCRAM-SHA-256', 'SCRAM-SHA-512'], {
    description: 'How a user logs in to Kafka; unset: no login'
  })),
  KAFKA_SASL_USERNAME: text('The user', ''),
  KAFKA_SASL_PASSWORD_FILE: text('File that holds its password; read at each login', ''),
  VITAL_SINK_GROUP: Type.String({
    description: 'Consumer group of vital-gateway sink; sinks that write to another PostgreSQL need another group',
    default: 'vital-sink',
    pattern: '^[\\w.-]{1,200}$'
  }),
  VITAL_BRIDGE_URL: Type.Optional(Type.String({
    description: 'External MQTT 5 broker that vital-gateway bridge takes readings from, mqtt://host:1883 or mqtts://host:8883'
  })),
  VITAL_BRIDGE_TOPIC: text('Topics of its readings; {device} is the level that holds the device id, such as ward/monitor/{device}',
    'vital/{device}'),
  VITAL_BRIDGE_ALLOW_WILDCARDS: Type.Boolean({
    description: 'Levels of VITAL_BRIDGE_TOPIC may be +; only where one {device} in two matching topics is one patient',
    default: false
  }),
  VITAL_BRIDGE_GROUP: Type.String({
    description: 'Group of the shared subscription; the broker shares messages out among its members',
    default: 'vital-gateway',
    pattern: '^[^/+#\\u0000-\\u001f\\u007f]{1,128}$'
  }),
  VITAL_BRIDGE_CLIENT_ID: Type.Optional(Type.String({
    description: 'Client id of this member, another one for each; unset: one is made, and kept in VITAL_DATA_DIR',
    pattern: '^[^\\u0000-\\u001f\\u007f]{1,256}$'
  })),
  VITAL_BRIDGE_USERNAME: text('User that logs in to the broker; unset: no login', ''),
  VITAL_BRIDGE_PASSWORD_FILE: text('File that holds its password; read at each connection', ''),
  VITAL_BRIDGE_TLS_CA_FILE: text('Authorities (PEM) of the broker\'s certificate; unset: those that Node.js trusts', ''),
  VITAL_BRIDGE_TLS_CERT_FILE: text('Certificate (PEM) that the bridge shows to the broker', ''),
  VITAL_BRIDGE_TLS_KEY_FILE: text('Private key of that certificate (PEM)', ''),
  VITAL_LAKE_URL: text('Where vital-gateway lake writes readings as Parquet: s3://bucket/prefix; credentials, region and ' +
    'AWS_ENDPOINT_URL_S3 are found as the programs of AWS find them', ''),
  VITAL_LAKE_GROUP: Type.String({
    description: 'Consumer group of vital-gateway lake; lakes that write to another place need another group',
    default: 'vital-lake',
    pattern: '^[\\w.-]{1,200}$'
  }),
  VITAL_LAKE_FILE_BYTES: integer('Size of a file of the lake; an hour that has less makes a smaller one', 128 * MIB, MIB, 1024 * MIB),
  VITAL_LAKE_MAX_AGE_S: integer('Longest that a reading waits in Kafka for its file', 900, 1, 86_400),
  VITAL_EXPORT_URL: Type.Optional(Type.String({
    description: 'Time-series database that vital-gateway export writes to, http://host:8086 or https://…'
  })),
  VITAL_EXPORT_KIND: Type.Enum(['influxdb1', 'influxdb2', 'influxdb3', 'victoriametrics', 'questdb'], {
    description: 'Kind of that database', default: 'influxdb1'
  }),
  VITAL_EXPORT_DATABASE: Type.String({
    description: 'Database of InfluxDB 1 and 3, bucket of InfluxDB 2; it exists', default: 'vital', pattern: '^[^\\u0000-\\u001f"]{1,255}$'
  }),
  VITAL_EXPORT_ORG: text('Organisation of InfluxDB 2', ''),
  VITAL_EXPORT_USERNAME: text('User that logs in to it; unset: no login, or a token is used', ''),
  VITAL_EXPORT_PASSWORD_FILE: text('File that holds the password; read at each request', ''),
  VITAL_EXPORT_TOKEN_FILE: text('File that holds a token, instead of user and password; read at each request', ''),
  VITAL_EXPORT_TLS_CA_FILE: text('Authorities (PEM) of its certificate; unset: those that Node.js trusts', ''),
  VITAL_EXPORT_GROUP: Type.String({
    description: 'Consumer group of vital-gateway export; exports that write to another database need another group',
    default: 'vital-export',
    pattern: '^[\\w.-]{1,200}$'
  }),
  VITAL_EXPORT_BATCH_READINGS_MAX: integer('Readings in one request to it', 2000, 1, 50_000),
  VITAL_DATA_DIR: text('Directory of the spool and the embedded PostgreSQL; one gateway each', './data'),
  VITAL_HOST: text('Address that the listeners bind', '127.0.0.1'),
  VITAL_ALLOW_ANONYMOUS: Type.Boolean({
    description: 'Without it, binding beyond loopback while no credentials exist ' +
    'stops the start',
    default: false
  }),
  VITAL_MQTT_PORT: integer('MQTT over TCP; 0 picks a free port', 1883, 0, 65_535),
  VITAL_HTTP_PORT: integer('HTTP; 0 picks a free port', 3000, 0, 65_535),
  VITAL_GRPC_PORT: Type.Optional(Type.Integer({
    description: 'gRPC, inside TLS once there is a certificate; unset: off; 0 picks a free port',
    minimum: 0,
    maximum: 65_535
  })),
  VITAL_MQTT_PLAINTEXT: Type.Boolean({
    description: 'Plain MQTT beyond loopback also when there is TLS; without TLS ' +
    'it silences a warning',
    default: false
  }),
  VITAL_MQTTS_PORT: integer('MQTT inside TLS, once there is a certificate; 0 picks a free port', 8883, 0, 65_535),
  VITAL_TLS_CERT_FILE: text('Certificate chain (PEM): MQTT inside TLS, and HTTPS and gRPC inside TLS instead of plain', ''),
  VITAL_TLS_KEY_FILE: text('Private key of that certificate (PEM)', ''),
  VITAL_TLS_CLIENT_CA_FILE: text('Authorities (PEM) whose client certificates identify a device', ''),
  VITAL_TLS_CLIENT_CERT_REQUIRED: Type.Boolean({
    description: 'Refuse clients without such a certificate in the ' +
    'handshake, over MQTT, HTTPS and gRPC',
    default: false
  }),
  VITAL_WS_ORIGINS: text('Origins, separated by commas, whose pages may speak MQTT over WebSocket and read answers ' +
    'of HTTP (CORS)', ''),
  VITAL_TRUSTED_PROXIES: text('Addresses and CIDR ranges of proxies, separated by commas, whose X-Forwarded-For and ' +
    'PROXY headers are believed', ''),
  VITAL_PROXY_PROTOCOL: Type.Boolean({
    description: 'Trusted proxies begin MQTT connections with a PROXY header, ' +
    'version 1 or 2',
    default: false
  }),
  VITAL_ADMIN_HOST: text('Address of metrics and health, once they have a port', '127.0.0.1'),
  VITAL_ADMIN_PORT: Type.Optional(Type.Integer({
    description: 'Port of metrics and health; unset: the HTTP port; 0 ' +
    'picks a free port',
    minimum: 0,
    maximum: 65_535
  })),
  VITAL_ACK_TIMEOUT_MS: integer('Longest that a message is held unacknowledged before its client is ' +
    'closed', 5000, 100, 600_000),
  // MQTT's remaining length ends at 268,435,455 [MQTT-2.2.3].
  VITAL_PACKET_BYTES_MAX: integer('Largest MQTT packet, HTTP body and gRPC request; before CONNECT is complete 16 ' +
    'KiB', 262_144, 1024, 268_435_455),
  VITAL_LOG_LEVEL: Type.Enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], {
    description: 'Least severe level that is logged', default: 'info'
  }),
  VITAL_FLUSH_INTERVAL_MS: integer('Longest that a reading waits for its batch to fill', 2, 0, 1000),
  VITAL_COMMIT_TIMEOUT_MS: integer('Longest that a batch waits for PostgreSQL before it goes to the ' +
    'spool', 1500, 50, 60_000),
  // An hour at 5,000 readings a second, with room.
  VITAL_SPOOL_BYTES_MAX: integer('Largest size of the spool on disk; full, the gateway stops ' +
    'reading', 4096 * MIB, 16 * MIB, 1024 * 1024 * MIB),
  VITAL_SPOOL_KEEP_S: integer('With VITAL_ACK_AFTER=spool, how long the spool keeps readings that Kafka has: as long ' +
    'as its brokers may take to write them to their disks; 0: not at all', 120, 0, 86_400),
  VITAL_BATCH_READINGS_MAX: integer('Readings in one transaction', 2000, 1, 50_000),
  VITAL_BUFFER_READINGS_MAX: integer('Readings accepted and not yet durable; at the bound the gateway stops ' +
    'reading', 20_000, 100, 10_000_000),
  VITAL_BUFFER_BYTES_MAX: integer('The same in bytes of memory', 64 * MIB, MIB, 16 * 1024 * MIB),
  VITAL_DATABASE_CONNECTIONS_MAX: integer('Connections to PostgreSQL, for ingest and reads together', 10, 3, 100),
  VITAL_DATABASE_READ_CONNECTIONS_MAX: Type.Optional(Type.Integer({
    description: 'Of those, for reads; unset: a ' +
    'third',
    minimum: 1,
    maximum: 98
  })),
  VITAL_DEAD_LETTERS_MAX: integer('Dead letters kept in all; beyond, bad input is counted ' +
    'only', 100_000, 0, 100_000_000),
  VITAL_DEAD_LETTERS_PER_DEVICE_MAX: integer('Dead letters kept of one device', 1000, 0, 1_000_000),
  // A century is longer than any history.
  VITAL_RETENTION_DAYS: integer('Days that readings are kept; 0 keeps all', 0, 0, 36_500),
  VITAL_ROLLUP_RETENTION_DAYS: integer('Days that averages are kept, at least as long as readings; 0 keeps all', 0, 0, 36_500),
  VITAL_JWT_JWKS: text('File or https URL of the keys (JWKS) of the issuer whose tokens are trusted; needs the next ' +
    'two', ''),
  VITAL_JWT_ISSUER: text('Issuer (iss) that a token must name', ''),
  VITAL_JWT_AUDIENCE: text('Audience (aud) that a token must name', ''),
  VITAL_JWT_ALGORITHMS: text('Signatures that are trusted, separated by commas', 'RS256,ES256,EdDSA'),
  VITAL_JWT_ROLE_CLAIM: text('Claim that holds the role: device, operator, application or admin', 'role'),
  VITAL_LOG_HASH_IDS: Type.Boolean({
    description: 'Log a keyed hash of client and device ids instead of the ' +
    'ids',
    default: false
  }),
  // The readings that wait are bounded anyway (429 VITAL_OVERLOADED). This limit keeps one sender from filling that
  // bound alone.
  VITAL_HTTP_REQUESTS_PER_SECOND_MAX: integer('HTTP requests of one principal, and as many gRPC calls, or of one address while no ' +
    'credentials exist, at all gateways of one Redis together; 0 sets no limit', 0, 0, 1_000_000),
  // Each is a descriptor and about 20 KiB.
  VITAL_CONNECTIONS_MAX: integer('MQTT connections at a time; beyond, a new one is closed', 20_000, 1, 1_000_000),
  VITAL_CONNECTIONS_PER_ADDRESS_MAX: integer('The same of one IPv4 address or IPv6 network of 64 bits; loopback has ' +
    'no limit of its own', 10_000, 1, 1_000_000),
  VITAL_CONNECTS_PER_SECOND_MAX: integer('New MQTT connections a second; beyond, one waits for its turn; 0 sets no ' +
    'limit', 1000, 0, 1_000_000),
  VITAL_DEVICE_MESSAGES_PER_SECOND_MAX: integer('Messages a second of one MQTT connection or gRPC stream, pings and subscriptions ' +
    'as up to twenty each; beyond, its socket is not read for a while; 0 sets no limit', 5000, 0, 1_000_000),
  VITAL_DEVICE_BYTES_PER_SECOND_MAX: integer('The same in bytes', MIB, 0, 1024 * MIB),
  VITAL_MQTT_TOPIC_ALIAS_MAX: integer('Topic aliases that an MQTT 5 client may use for its publishes; 0: none, ' +
    'because some clients reuse an alias after a reconnect, and are closed for it', 0, 0, 65_535),
  VITAL_LIMITS: text('What the live page calls out of range, as JSON: prefix of the device id ("" is every device; the ' +
    'longest one counts), vital sign, lowest and highest value; unset: nothing', ''),
  VITAL_MQTT_DENIED_FILTERS: text('Topic filters, separated by commas, that no client may subscribe to', '')
}, { additionalProperties: false })

export type Environment = Static<typeof EnvironmentSchema>

const environment = Compile(EnvironmentSchema)

/**
 * Reads environment variables. An empty one counts as unset, because compose files pass unset variables so.
 * @param variables - every name of the schema, and everything that starts with `VITAL_`; other names are ignored
 * @returns the values with defaults, or every fault (`path` is `/NAME`)
 */
export function parseEnvironment (
  variables: Readonly<Record<string, string | undefined>>
): { values: Environment } | { faults: Fault[] } {
  const values: Record<string, unknown> = {}
  for (const [name, schema] of Object.entries(EnvironmentSchema.properties)) {
    if ('default' in schema) values[name] = schema.default
  }
  for (const [name, value] of Object.entries(variables)) {
    if (value === undefined || value === '') continue
    if (name in EnvironmentSchema.properties || name.startsWith('VITAL_')) values[name] = toValue(name, value)
  }
  if (environment.Check(values)) return { values }
  return { faults: toFaults(environment.Errors(values)) }
}

/** Strict: `" 5"`, `5.0`, `1e3` and `yes` stay text, which the schema then refuses. */
function toValue (name: string, value: string): unknown {
  const schema = EnvironmentSchema.properties[name as keyof typeof EnvironmentSchema.properties]
  const type = schema !== undefined && 'type' in schema ? schema.type : undefined
  if (type === 'integer' && /^-?\d{1,15}$/.test(value)) return Number(value)
  if (type === 'boolean' && (value === 'true' || value === 'false')) return value === 'true'
  return value
}
