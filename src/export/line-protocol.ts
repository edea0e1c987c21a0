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
 * character. So `\` and `%` are percent-encoded, and `decodeURIComponent` restores every id.
 *
 * Names of fields keep ASCII letters, digits and `_`, because QuestDB accepts few others. Every other character becomes its
 * code, `_x2d_`, as in SQL/XML, and so does a `_` that looks like the beginning of a code. A reserved name gets a `_`, and so
 * does a name that differs from a reserved one only in `_` at its end. So two fields never have one name.
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

/** Names that a database reserves, or that are tags here; the empty name; each of them also with `_` at its end. */
const RESERVED = new RegExp(`^(?:|time|timestamp|${DEVICE_TAG}|${PARTITION_TAG})_*$`, 'i')
const ENCODED = /[^A-Za-z0-9_]|_(?=x[0-9a-f]{2,}[^a-z0-9])/gi
/** Bound on remembered field names, because devices choose them. */
const NAMES_MAX = 10_000
const known = new Map<string, string>()
const NONE: ReadonlySet<string> = new Set()

/** The name of a field in the database. */
export function toFieldName (name: string): string {
  const before = known.get(name)
  if (before !== undefined) return before
  const plain = name.replaceAll(ENCODED, toCode)
  const made = RESERVED.test(plain) ? `${plain}_` : plain
  if (known.size < NAMES_MAX) known.set(name, made)
  return made
}

function toCode (character: string): string {
  return `_x${character.charCodeAt(0).toString(16).padStart(2, '0')}_`
}

/** The names of fields that differ from another one only in case, in lower case. */
function findTwice (names: readonly string[]): ReadonlySet<string> {
  const seen = new Set<string>()
  const twice = new Set<string>()
  for (const name of names) {
    const lower = name.toLowerCase()
    if (seen.has(lower)) twice.add(lower)
    seen.add(lower)
  }
  return twice
}

/** The value of the tag for a device, not escaped. `decodeURIComponent` is its inverse. */
export function toDeviceTag (device: string): string {
  return /[%\\]/.test(device) ? device.replaceAll('%', '%25').replaceAll('\\', '%5C') : device
}

function escapeTag (text: string): string {
  return /[ ,=]/.test(text) ? text.replaceAll(/[ ,=]/g, '\\$&') : text
}

/**
 * @param isCaseBlind - names that differ only in case are one column; where a reading has such names, capital letters are codes
 * @returns `null`: the reading has no value that the database can hold; it may be a sign of life only
 */
export function toLine (row: ReadingRow, partition: number, lineEnd: LineEnd, isCaseBlind = false): string | null {
  const names: string[] = []
  const values: string[] = []
  for (const name in row.fields) {
    if (name === 'device' || name === 'timestamp') continue
    const value = toValue(row.fields[name], lineEnd)
    if (value === null) continue
    names.push(toFieldName(name))
    values.push(value)
  }
  if (names.length === 0) return null
  const twice = isCaseBlind ? findTwice(names) : NONE
  const fields = names.map((name, at) =>
    `${twice.has(name.toLowerCase()) ? name.replaceAll(/[A-Z]/g, toCode) : name}=${values[at]}`).join(',')
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
