/**
 * The common part of all records: topics, partitions and headers, and how unreadable records are reported. The values are
 * in `reading-record.ts`, `letter-record.ts`, `erasure-record.ts` and `rejection-record.ts`.
 */
import { toPartitionHash } from './murmur2.ts'

/** Topic of readings; the key is the device. */
export const READINGS_TOPIC = 'vital.readings'
/** Topic of refused inputs. */
export const LETTERS_TOPIC = 'vital.dead-letters'
/** Topic of rejections by sinks, which gateways announce; the key is the device. */
export const REJECTIONS_TOPIC = 'vital.rejections'
/** Topic of averages that Flink computes. Nothing in this repository reads it. */
export const AVERAGES_TOPIC = 'vital.averages.5m'

/**
 * Schema version. It changes if older readers could misread a value; an additional member or header does not change it.
 */
const SCHEMA = '1'
const SCHEMA_HEADER = Buffer.from('schema')
const SCHEMA_VALUE = Buffer.from(SCHEMA)

/** A record to write, in the form of Kafka's client. */
export interface OutgoingRecord {
  readonly topic: string
  readonly key: Buffer
  readonly value: Buffer
  readonly headers: Map<Buffer, Buffer>
  /** Hash of the key, or a partition. The client takes it modulo the number of partitions. */
  readonly partition: number
}

/** A record of the log, in the form of each consumer of the client. */
export interface LogRecord {
  readonly value: Buffer | null | undefined
  readonly headers: Iterable<readonly [Buffer, Buffer]>
}

/** Members of a JSON object, not yet checked. */
export type Members = Readonly<Record<string, unknown>>

/**
 * A decoded record. `unknown-schema`: a newer gateway wrote it, and this reader must not skip it. `unreadable`: no
 * gateway wrote it, so it can never be read.
 */
export type Read<T> =
  | { readonly kind: 'read', readonly value: T }
  | { readonly kind: 'unknown-schema', readonly schema: string }
  | { readonly kind: 'unreadable', readonly why: string }

/** @param key - records with equal keys go to the same partition, and so keep their order */
export function toOutgoing (
  topic: string, key: string, value: string, headers: Readonly<Record<string, string | null>>, schema = SCHEMA_VALUE
): OutgoingRecord {
  const keyBytes = Buffer.from(key)
  const pairs = new Map([[SCHEMA_HEADER, schema]])
  for (const name in headers) {
    const text = headers[name]
    if (typeof text === 'string') pairs.set(Buffer.from(name), Buffer.from(text))
  }
  return { topic, key: keyBytes, value: Buffer.from(value), headers: pairs, partition: toPartitionHash(keyBytes) }
}

const SEEN_HEADER = 'erasures'

/** Header with the id of the last request to erase a device that the gateway has dealt with. */
export function toSeen (seen: number | undefined): Record<string, string> {
  return seen === undefined ? {} : { [SEEN_HEADER]: String(seen) }
}

/** Reads that header. @returns `null` if a record does not have it */
export function readSeen ({ headers }: LogRecord): number | null {
  for (const [name, value] of headers) if (name.toString() === SEEN_HEADER) return Number(value.toString())
  return null
}

/** Reads a record of a schema. @param toValue - returns the value, or the reason why the record cannot be read */
export function readRecord<T> (
  { value, headers }: LogRecord, toValue: (parsed: Members, text: string, headers: ReadonlyMap<string, string>) => T | string,
  known = SCHEMA
): Read<T> {
  const texts = new Map<string, string>()
  for (const [name, header] of headers) texts.set(name.toString(), header.toString())
  const schema = texts.get('schema')
  if (schema === undefined) return toUnreadable('it has no header `schema`')
  if (schema !== known) return { kind: 'unknown-schema', schema }
  if (value === null || value === undefined) return toUnreadable('it has no value')
  const text = value.toString()
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    return toUnreadable('its value is not JSON')
  }
  if (!isObject(parsed)) return toUnreadable('its value is not a JSON object')
  const read = toValue(parsed, text, texts)
  return typeof read === 'string' ? toUnreadable(read) : { kind: 'read', value: read }
}

/** Whether a JSON value is an object. */
export function isObject (value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const toUnreadable = (why: string) => ({ kind: 'unreadable', why } as const)
