/**
 * A reading as a line of InfluxDB's line protocol.
 *
 *   vital,device=ward\ 3,logPartition=7 heartRateValue=71,note="a \"b\"" 1750240830250000123
 *
 * Series and time are the key of a point, so a point that is written again replaces itself. The three digits below a
 * microsecond are from the hash of the other fields. So two readings of one microsecond are two points in 999 of 1,000
 * cases.
 *
 * Tags have three escapes, but none for the backslash itself: a backslash at the end of a tag would escape the next
 * character. So `\` and `%` are percent-encoded, and `decodeURIComponent` restores every id. Names of fields keep ASCII
 * letters, digits and `_`. Every other character becomes its hexadecimal code between `_`, because QuestDB accepts few
 * others.
 *
 * @see https://docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference/
 */
import type { ReadingRow } from '../../db/rows.ts'
import { toCanonicalJson } from '../ingest/canonical-json.ts'

/** Measurement in InfluxDB and table in QuestDB. VictoriaMetrics prefixes the name of each field with it. */
export const MEASUREMENT = 'vital'
export const DEVICE_TAG = 'device'
/** Tag with the partition of Kafka, because devices are erased partition by partition. */
export const PARTITION_TAG = 'logPartition'

/** The form of a line feed within a text; `null`: the database holds no texts. */
export type LineEnd = '\n' | '\\\n' | null

/** Names that a database reserves, or that are tags here. */
const RESERVED: ReadonlySet<string> = new Set(['time', 'timestamp', DEVICE_TAG, PARTITION_TAG.toLowerCase()])
/** Bound on remembered field names, because devices choose them. */
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

/** @returns `null`: the reading has no value that the database can hold; it may be a sign of life only */
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

/** Unix nanoseconds in decimal digits, because a number does not hold them exactly. */
function toNanoseconds ({ timeUs, hash }: Pick<ReadingRow, 'timeUs' | 'hash'>): string {
  const below = (hash.charCodeAt(0) << 16 | hash.charCodeAt(1) << 8 | hash.charCodeAt(2)) % 1000
  return timeUs === 0 ? String(below) : `${timeUs}${String(below).padStart(3, '0')}`
}
