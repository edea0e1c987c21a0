import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { BrokerLimits } from '../../broker/limits.ts'
import { type Environment, parseEnvironment } from '../../schemas/environment.ts'
import { toDatabaseUrl } from './database-url.ts'
import { parseEnvironmentFile } from './environment-file.ts'
import { selectVariables } from './environment-names.ts'
import { ConfigError } from './config-error.ts'
import { type KafkaConfig, toJournalConfig, toKafkaConfig } from './kafka-config.ts'
import { type BridgeConfig, toBridgeConfig } from './bridge-config.ts'
import { type ExportConfig, toExportConfig } from './export-config.ts'
import { type LakeConfig, toLakeConfig } from './lake-config.ts'
import { parseVitalLimits } from './vital-limits.ts'
import { GRPC_LIMITS } from '../grpc/limits.ts'
import { HTTP_LIMITS } from '../http/limits.ts'
import type { Page } from '../http/page/page.ts'
import type { TokenConfig } from '../security/security.ts'
import { TOKEN_ALGORITHMS } from '../security/tokens.ts'
import { isLoopback, toList, toTransportConfig, type TransportConfig } from '../transport/transport-config.ts'

/** The gateway's configuration, frozen; each part receives the slice it needs. */
export interface Config {
  /** `null`: start the embedded PostgreSQL in `dataDir`. */
  readonly databaseUrl: string | null
  /** Of its replicas, for reads. */
  readonly replicaUrls: readonly string[]
  /** `null`: this gateway stands alone. Holds a password. */
  readonly redisUrl: string | null
  /** Where latest states are copied to; `null`: nowhere. */
  readonly latestCacheUrl: string | null
  readonly journal: ReturnType<typeof toJournalConfig>
  /** `null`: no Kafka. */
  readonly kafka: KafkaConfig | null
  /** Consumer group of sinks. */
  readonly sinkGroup: string
  /** `null`: no external broker. */
  readonly bridge: BridgeConfig | null
  readonly lake: LakeConfig
  /** `null`: no time-series database. */
  readonly timeSeries: ExportConfig | null
  readonly databaseConnectionsMax: number
  /** Of those, for reads. */
  readonly databaseReadConnectionsMax: number
  readonly dataDir: string
  readonly host: string
  /** Only this machine reaches `host`. */
  readonly isLoopback: boolean
  readonly isAnonymousAllowed: boolean
  /** `null`: no tokens are trusted. */
  readonly tokens: TokenConfig | null
  /** 0: no limit. */
  readonly httpRequestsPerSecondMax: number
  readonly httpConnectionsMax: number
  readonly logHashIds: boolean
  readonly mqttPort: number
  readonly httpPort: number
  /** `null`: no gRPC. */
  readonly grpcPort: number | null
  readonly grpcConnectionsMax: number
  readonly packetBytesMax: number
  readonly deniedFilters: readonly string[]
  readonly brokerLimits: Pick<BrokerLimits, 'packetBytesMax' | 'connectionsMax' | 'connectionsPerAddressMax' |
    'connectsPerSecondMax' | 'topicAliasesPerClientMax' | 'messagesPerSecondMax' | 'bytesPerSecondMax'>
  readonly ackTimeoutMs: number
  readonly flushIntervalMs: number
  readonly commitTimeoutMs: number
  readonly spoolBytesMax: number
  /** How long the spool keeps readings that Kafka has; 0: not at all. */
  readonly spoolKeepMs: number
  readonly batchReadingsMax: number
  readonly bufferReadingsMax: number
  readonly bufferBytesMax: number
  readonly deadLettersMax: number
  readonly deadLettersPerDeviceMax: number
  /** 0 keeps all. */
  readonly retentionDays: number
  readonly rollupRetentionDays: number
  /** Of the live page, by prefix of the device id. */
  readonly vitalLimits: Page['limits']
  readonly logLevel: Environment['VITAL_LOG_LEVEL']
  readonly transport: TransportConfig
  /** Shown at start, in readiness and in the log. */
  readonly warnings: readonly string[]
  /** Logged at start, once. */
  readonly notices: readonly string[]
}

/**
 * Environment → configuration.
 * @throws {@link ConfigError} for an unknown `VITAL_*` name, a near miss of a known one, a bad value, or names that
 *   need each other
 */
export function createConfig (variables: Readonly<Record<string, string | undefined>>): Config {
  const { variables: own, notices } = selectVariables(variables)
  const parsed = parseEnvironment(own)
  if ('faults' in parsed) {
    const faults = parsed.faults.map(({ path, message }) => `  ${path.slice(1)} ${message}`)
    throw new ConfigError(`The environment is not valid:\n${faults.join('\n')}\nSee .env.example for every variable.`)
  }
  const values = parsed.values
  const transport = toTransportConfig(values)
  const redisUrl = values.REDIS_URL === undefined ? null : toRedisUrl(values.REDIS_URL)
  return Object.freeze({
    databaseUrl: values.DATABASE_URL === undefined ? null : toDatabaseUrl(values.DATABASE_URL),
    replicaUrls: toReplicaUrls(values),
    redisUrl,
    latestCacheUrl: toLatestCacheUrl(values, redisUrl),
    journal: toJournalConfig(values),
    kafka: toKafkaConfig(values),
    sinkGroup: values.VITAL_SINK_GROUP,
    bridge: toBridgeConfig(values),
    lake: toLakeConfig(values),
    timeSeries: toExportConfig(values),
    databaseConnectionsMax: values.VITAL_DATABASE_CONNECTIONS_MAX,
    databaseReadConnectionsMax: toReadConnectionsMax(values),
    dataDir: resolve(values.VITAL_DATA_DIR),
    host: values.VITAL_HOST,
    isLoopback: isLoopback(values.VITAL_HOST),
    isAnonymousAllowed: values.VITAL_ALLOW_ANONYMOUS,
    tokens: toTokenConfig(values),
    httpConnectionsMax: HTTP_LIMITS.connectionsMax,
    httpRequestsPerSecondMax: values.VITAL_HTTP_REQUESTS_PER_SECOND_MAX,
    logHashIds: values.VITAL_LOG_HASH_IDS,
    mqttPort: values.VITAL_MQTT_PORT,
    httpPort: values.VITAL_HTTP_PORT,
    grpcPort: values.VITAL_GRPC_PORT ?? null,
    grpcConnectionsMax: values.VITAL_GRPC_PORT === undefined ? 0 : GRPC_LIMITS.connectionsMax,
    packetBytesMax: values.VITAL_PACKET_BYTES_MAX,
    deniedFilters: toList(values.VITAL_MQTT_DENIED_FILTERS),
    brokerLimits: {
      packetBytesMax: values.VITAL_PACKET_BYTES_MAX,
      connectionsMax: values.VITAL_CONNECTIONS_MAX,
      connectionsPerAddressMax: values.VITAL_CONNECTIONS_PER_ADDRESS_MAX,
      connectsPerSecondMax: values.VITAL_CONNECTS_PER_SECOND_MAX,
      topicAliasesPerClientMax: values.VITAL_MQTT_TOPIC_ALIAS_MAX,
      messagesPerSecondMax: values.VITAL_DEVICE_MESSAGES_PER_SECOND_MAX,
      bytesPerSecondMax: values.VITAL_DEVICE_BYTES_PER_SECOND_MAX
    },
    ackTimeoutMs: values.VITAL_ACK_TIMEOUT_MS,
    flushIntervalMs: values.VITAL_FLUSH_INTERVAL_MS,
    commitTimeoutMs: values.VITAL_COMMIT_TIMEOUT_MS,
    spoolBytesMax: values.VITAL_SPOOL_BYTES_MAX,
    spoolKeepMs: values.VITAL_SPOOL_KEEP_S * 1000,
    batchReadingsMax: values.VITAL_BATCH_READINGS_MAX,
    bufferReadingsMax: values.VITAL_BUFFER_READINGS_MAX,
    bufferBytesMax: values.VITAL_BUFFER_BYTES_MAX,
    deadLettersMax: values.VITAL_DEAD_LETTERS_MAX,
    deadLettersPerDeviceMax: values.VITAL_DEAD_LETTERS_PER_DEVICE_MAX,
    retentionDays: values.VITAL_RETENTION_DAYS,
    rollupRetentionDays: toRollupRetentionDays(values),
    vitalLimits: parseVitalLimits(values.VITAL_LIMITS),
    logLevel: values.VITAL_LOG_LEVEL,
    transport,
    warnings: transport.warnings,
    notices
  })
}

function toReplicaUrls ({ DATABASE_URL: primary, DATABASE_READ_URL: replicas = '' }: Environment): string[] {
  const urls = toList(replicas)
  if (urls.length > 0 && primary === undefined) {
    throw new ConfigError('DATABASE_READ_URL needs DATABASE_URL: the embedded PostgreSQL has no replicas.')
  }
  return urls.map((url) => {
    try {
      return toDatabaseUrl(url)
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      throw new ConfigError(error.message.replaceAll('DATABASE_URL', 'DATABASE_READ_URL'))
    }
  })
}

/** Errors do not quote the text: its password would be in the log. */
function toRedisUrl (text: string): string {
  const isUrl = URL.canParse(text) && ['redis:', 'rediss:'].includes(new URL(text).protocol) && new URL(text).hostname !== ''
  if (!isUrl) throw new ConfigError('REDIS_URL must be a URL such as redis://127.0.0.1:6379 or rediss://user:password@host:6380/0.')
  return text
}

function toLatestCacheUrl ({ VITAL_LATEST_CACHE: cache }: Environment, redisUrl: string | null): string | null {
  if (cache === 'memory') return null
  if (redisUrl === null) throw new ConfigError('VITAL_LATEST_CACHE=redis needs REDIS_URL: the Redis that all gateways share.')
  return redisUrl
}

/** Unset: a third, and so at least one. The rest is for two batches at a time and for upkeep. */
function toReadConnectionsMax (values: Environment): number {
  const { VITAL_DATABASE_CONNECTIONS_MAX: all, VITAL_DATABASE_READ_CONNECTIONS_MAX: reads = Math.floor(all / 3) } = values
  if (reads > all - 2) {
    throw new ConfigError('VITAL_DATABASE_READ_CONNECTIONS_MAX must leave two of VITAL_DATABASE_CONNECTIONS_MAX to ' +
      'ingest.')
  }
  return reads
}

/** Averages outlive their readings: an answer takes closed buckets from roll-ups alone. */
function toRollupRetentionDays (values: Environment): number {
  const { VITAL_RETENTION_DAYS: readings, VITAL_ROLLUP_RETENTION_DAYS: rollups } = values
  if (rollups !== 0 && (readings === 0 || rollups < readings)) {
    throw new ConfigError('VITAL_ROLLUP_RETENTION_DAYS must be at least VITAL_RETENTION_DAYS, or 0 to keep all averages.')
  }
  return rollups
}

/**
 * A trusted issuer needs its keys, its name and our audience: without the latter two, tokens made for other services
 * would be accepted here.
 */
function toTokenConfig (values: Environment): TokenConfig | null {
  const { VITAL_JWT_JWKS: jwks, VITAL_JWT_ISSUER: issuer, VITAL_JWT_AUDIENCE: audience } = values
  if (jwks === '' && issuer === '' && audience === '') return null
  if (jwks === '' || issuer === '' || audience === '') {
    throw new ConfigError('VITAL_JWT_JWKS, VITAL_JWT_ISSUER and VITAL_JWT_AUDIENCE must be set together, or none of ' +
      'them.')
  }
  const isUrl = /^[a-z][a-z0-9+.-]*:\/\//i.test(jwks)
  if (isUrl && !isTrustedUrl(jwks)) {
    throw new ConfigError(`VITAL_JWT_JWKS=${jwks} must be a file or an https URL: a party that can change the keys on ` +
      'their way can sign tokens.')
  }
  const algorithms = toList(values.VITAL_JWT_ALGORITHMS)
  const unknown = algorithms.filter((algorithm) => !TOKEN_ALGORITHMS.includes(algorithm))
  if (algorithms.length === 0 || unknown.length > 0) {
    throw new ConfigError(`VITAL_JWT_ALGORITHMS must list one or more of ${TOKEN_ALGORITHMS.join(', ')}, not ` +
      `${unknown.join(', ') || 'nothing'}.`)
  }
  return Object.freeze({
    jwks: isUrl
      ? jwks
      : resolve(jwks),
    issuer,
    audience,
    algorithms,
    roleClaim: values.VITAL_JWT_ROLE_CLAIM
  })
}

/** Plain HTTP never leaves this machine. */
function isTrustedUrl (text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, hostname } = new URL(text)
  return protocol === 'https:' || (protocol === 'http:' && isLoopback(hostname.replace(/^\[(.*)\]$/, '$1')))
}

/** The process's environment, with `.env` of the working directory beneath it when that file is there. */
export function readEnvironment (): NodeJS.ProcessEnv {
  let bytes
  try {
    bytes = readFileSync('.env')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT') throw new ConfigError(`.env exists but cannot be read: ${message}`, { cause: error })
    return process.env
  }
  // Into the process's own environment, because the driver of PostgreSQL reads PGPASSWORD and its like there.
  for (const [name, value] of Object.entries(parseEnvironmentFile(bytes))) process.env[name] ??= value
  return process.env
}
