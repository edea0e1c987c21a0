/** What records of both topics have in common: how they are addressed, and how a reader tells what it cannot read. */
import { toPartitionHash } from './murmur2.ts'

/** Of readings; the key is the device. */
export const READINGS_TOPIC = 'vital.readings'
/** Of inputs that were refused. */
export const LETTERS_TOPIC = 'vital.dead-letters'
/** Of what sinks refuse, to be announced; the key is the device. */
export const REJECTIONS_TOPIC = 'vital.rejections'
/** Of averages, where Flink computes them; nothing of ours reads it. */
export const AVERAGES_TOPIC = 'vital.averages.5m'

/** Changes where a reader of the former one could misread a value; another member or header is no change. */
const SCHEMA = '1'
const SCHEMA_HEADER = Buffer.from('schema')
const SCHEMA_VALUE = Buffer.from(SCHEMA)

/** A record that is to be written, as the client of Kafka takes it. */
export interface OutgoingRecord {
  readonly topic: string
  readonly key: Buffer
  readonly value: Buffer
  readonly headers: Map<Buffer, Buffer>
  /** Of the key; the client takes the remainder by the number of partitions. */
  readonly partition: number
}

/** A record of the log, in whichever way the client reads it. */
export interface LogRecord {
  readonly value: Buffer | null | undefined
  readonly headers: Iterable<readonly [Buffer, Buffer]>
}

/** Members of a JSON object, not yet looked at. */
export type Members = Readonly<Record<string, unknown>>

/**
 * What a record holds. `unknown-schema`: a newer gateway wrote it, and this reader must not go past it. `unreadable`: no
 * gateway wrote it so; it will never be read.
 */
export type Read<T> =
  | { readonly kind: 'read', readonly value: T }
  | { readonly kind: 'unknown-schema', readonly schema: string }
  | { readonly kind: 'unreadable', readonly why: string }

/** @param key - equal keys keep their order: they meet in one partition */
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

/** Header of the last request to erase a device that a gateway has dealt with. */
export function toSeen (seen: number | undefined): Record<string, string> {
  return seen === undefined ? {} : { [SEEN_HEADER]: String(seen) }
}

/** The same of a record. @returns `null` where it does not say */
export function readSeen ({ headers }: LogRecord): number | null {
  for (const [name, value] of headers) if (name.toString() === SEEN_HEADER) return Number(value.toString())
  return null
}

/** Reads a record of a schema. @param toValue - returns what the record holds, or why it cannot be read */
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

/** Whether a value of JSON has members by name. */
export function isObject (value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const toUnreadable = (why: string) => ({ kind: 'unreadable', why } as const)
