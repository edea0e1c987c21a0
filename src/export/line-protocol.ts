/**
 * A reading as a line of InfluxDB's line protocol.
 *
 *   vital,device=ward\ 3,logPartition=7 heartRateValue=71,note="a \"b\"" 1750240830250000123
 *
 * Series and time are the key of a point: a point that is written again replaces itself. So the three digits below our
 * microseconds are of the hash of the other fields, and two readings of one microsecond are two points in 999 of 1,000 cases.
 *
 * Tags know three escapes, and no escape for the backslash itself: a tag that ends in one takes the next character along. So
 * `\` and `%` are percent-encoded, and `decodeURIComponent` gives every id back. Names of fields keep ASCII letters, digits and
 * `_`; each other character is its code in hexadecimal digits between `_`, for QuestDB takes few others.
 *
 * @see https://docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference/
 */
import type { ReadingRow } from '../../db/rows.ts'
import { toCanonicalJson } from '../ingest/canonical-json.ts'

/** Measurement of InfluxDB, table of QuestDB; VictoriaMetrics puts it before the name of each field. */
export const MEASUREMENT = 'vital'
export const DEVICE_TAG = 'device'
/** Partition of Kafka: an erasure goes partition by partition. */
export const PARTITION_TAG = 'logPartition'

/** How a database takes a line end within a text; `null`: it holds no texts. */
export type LineEnd = '\n' | '\\\n' | null

/** Names that a database keeps for itself, or that are tags here. */
const RESERVED: ReadonlySet<string> = new Set(['time', 'timestamp', DEVICE_TAG, PARTITION_TAG.toLowerCase()])
/** Names of fields are devices' own: beyond so many they are not remembered. */
const NAMES_MAX = 10_000
const names = new Map<string, string>()

/** The name of a field in the database. */
export function toFieldName (name: string): string {
  const known = names.get(name)
  if (known !== undefined) return known
  const plain = name.replaceAll(/[^A-Za-z0-9_]/g, (character) => `_${character.charCodeAt(0).toString(16)}_`)
  const made = plain === '' ? '_' : RESERVED.has(plain.toLowerCase()) ? `${plain}_` : plain
  if (names.size < NAMES_MAX) names.set(name, made)
  return made
}

/** The value of the tag for a device, not escaped. `decodeURIComponent` is its inverse. */
export function toDeviceTag (device: string): string {
  return /[%\\]/.test(device) ? device.replaceAll('%', '%25').replaceAll('\\', '%5C') : device
}

function escapeTag (text: string): string {
  return /[ ,=]/.test(text) ? text.replaceAll(/[ ,=]/g, '\\$&') : text
}

/** @returns `null`: it holds no value that the database can hold, as a sign of life does */
export function toLine (row: ReadingRow, partition: number, lineEnd: LineEnd): string | null {
  let fields = ''
  for (const name in row.fields) {
    if (name === 'device' || name === 'timestamp') continue
    const value = toValue(row.fields[name], lineEnd)
    if (value !== null) fields += `${fields === '' ? '' : ','}${toFieldName(name)}=${value}`
  }
  if (fields === '') return null
  const device = escapeTag(toDeviceTag(row.device))
  return `${MEASUREMENT},${DEVICE_TAG}=${device},${PARTITION_TAG}=${partition} ${fields} ${toNanoseconds(row)}`
}

function toValue (value: unknown, lineEnd: LineEnd): string | null {
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : null
  if (typeof value === 'boolean') return String(value)
  if (lineEnd === null || value === null || value === undefined) return null
  const text = typeof value === 'string' ? value : toCanonicalJson(value)
  const escaped = text.replaceAll(/["\\]/g, '\\$&')
  return `"${lineEnd === '\n' ? escaped : escaped.replaceAll('\n', lineEnd)}"`
}

/** Unix nanoseconds in decimal digits: beyond what a number holds exactly. */
function toNanoseconds ({ timeUs, hash }: Pick<ReadingRow, 'timeUs' | 'hash'>): string {
  const below = (hash.charCodeAt(0) << 16 | hash.charCodeAt(1) << 8 | hash.charCodeAt(2)) % 1000
  return timeUs === 0 ? String(below) : `${timeUs}${String(below).padStart(3, '0')}`
}
