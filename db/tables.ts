import type { ColumnType, Generated, GeneratedAlways } from 'kysely'
import type { Role } from '../schemas/principal.ts'
import type { Transport } from '../schemas/transport.ts'

/**
 * `timestamptz`. A `Date` holds milliseconds, the column microseconds: where the exact value matters, select
 * `extract(epoch from time)::float8`, which is exact to the microsecond until the year 2255.
 */
export type Timestamp = ColumnType<Date, Date | string>

/** `jsonb`: comes parsed, goes in as JSON text. */
export type Json<T> = ColumnType<T, string>

/** Every accepted reading, partitioned by month of `time`. Identity: `device`, `time`, `hash`. */
export interface ReadingsTable {
  device: string
  time: Timestamp
  /** First 16 bytes of the SHA-256 of the canonical `vitals`, as a UUID's text. */
  hash: string
  /** The reading without `device` and `timestamp`. */
  vitals: Json<Record<string, unknown>>
  received_at: Timestamp
}

/** One row per device: the newest value of each field. */
export interface LatestTable {
  device: string
  /** Of the device's newest reading. */
  time: Timestamp
  /** No later than the oldest entry of `vital_times`; a batch wholly newer than it can replace instead of merge. */
  oldest_time: Timestamp
  vitals: Json<Record<string, unknown>>
  /** Field → Unix seconds at which it was measured. */
  vital_times: Json<Record<string, number>>
  heart_rate: number | null
  breath_rate: number | null
}

/** How many rows `latest` has: the sum over all slots, kept by triggers. */
export interface DeviceCountsTable {
  slot: number
  devices: number
}

/** Refused inputs, complete, with their reasons. */
export interface DeadLettersTable {
  id: string
  received_at: Timestamp
  transport: Transport
  topic: string | null
  client_id: string | null
  device: string | null
  reason: string
  errors: Json<Array<{ path: string, message: string }>>
  payload: Buffer
}

/** Principals that may connect. */
export interface PrincipalsTable {
  id: string
  role: Role
  created_at: Generated<Timestamp>
  /** Set by every change of the principal or of one of its credentials. */
  changed_at: Generated<Timestamp>
  revoked_at: Timestamp | null
}

/** Credentials of principals: a secret's SHA-256, or a password's argon2id. */
export interface CredentialsTable {
  id: Generated<string>
  principal: string
  kind: 'secret' | 'password'
  secret_sha256: Buffer | null
  /** PHC string. */
  password_argon2id: string | null
  created_at: Generated<Timestamp>
  expires_at: Timestamp | null
}

/** Every administrative act. */
export interface AuditLogTable {
  id: GeneratedAlways<number>
  at: Generated<Timestamp>
  actor: string
  act: string
  target: string | null
  details: Json<Record<string, unknown>>
}

/** Requests to erase a device. */
export interface ErasuresTable {
  id: GeneratedAlways<number>
  device: string
  actor: string
  requested_at: Generated<Timestamp>
  coordinator: string
  deleted_at: Timestamp | null
}

/** Gateways by the identity of their spool. */
export interface GatewaysTable {
  id: string
  name: string
  started_at: Generated<Timestamp>
  seen_erasure: Generated<number>
  is_spool_empty: Generated<boolean>
}

/** How far sinks have stored each partition of Kafka. */
export interface SinkOffsetsTable {
  consumer_group: string
  topic: string
  topic_id: string
  partition: number
  next_offset: Generated<number>
  leader_epoch: number | null
  epoch: Generated<number>
  owner: string
  claimed_at: Generated<Timestamp>
  moved_at: Generated<Timestamp>
}

/** Devices whose records in Kafka are left out up to a marker of each partition. */
export interface LogErasuresTable {
  id: GeneratedAlways<number>
  marker: Generated<string>
  device: string
  request: number | null
  registered_at: Generated<Timestamp>
  cleared_by: string | null
  cleared_at: Timestamp | null
}

/** Partitions of Kafka that hold such a marker, or will. */
export interface ErasureMarkersTable {
  id: GeneratedAlways<number>
  erasure: number
  topic_id: string
  partition: number
  marker_offset: number | null
}

/** Kysely's view of the schema that `migrations/` creates. */
export interface Tables {
  readings: ReadingsTable
  latest: LatestTable
  device_counts: DeviceCountsTable
  dead_letters: DeadLettersTable
  principals: PrincipalsTable
  credentials: CredentialsTable
  audit_log: AuditLogTable
  erasures: ErasuresTable
  gateways: GatewaysTable
  sink_offsets: SinkOffsetsTable
  log_erasures: LogErasuresTable
  erasure_markers: ErasureMarkersTable
}
