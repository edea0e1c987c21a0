import { hash } from 'node:crypto'
import { toQuotedName } from '../../db/quoted-names.ts'
import type { ReadingRow } from '../../db/rows.ts'
import type { Reading } from '../../schemas/reading.ts'
import { toCanonicalJson } from './canonical-json.ts'

/**
 * Bytes of a reading's hash: 128 bits of SHA-256, so that different readings of one instant never share a hash by
 * chance.
 */
const HASH_BYTES = 16

/** Up to this many names are sorted by insertion: decoding three takes 2.0 µs, and 2.4 to 2.8 µs with `sort`. */
const INSERTED_MAX = 16

/**
 * Gives a validated reading its identity and the form in which it is stored.
 * @param device - of the topic, or of the reading itself
 * @param receivedAtMs - Unix milliseconds
 */
export function toReadingRow (reading: Reading, device: string, receivedAtMs: number): ReadingRow {
  return toRowAt(Math.round(reading.timestamp * 1e6), reading, device, receivedAtMs)
}

/**
 * The same for fields whose time is given separately.
 * @param timeUs - Unix microseconds, a whole number
 */
export function toRowAt (
  timeUs: number, fields: ReadingRow['fields'], device: string, receivedAtMs: number
): ReadingRow {
  const vitals = toVitals(fields)
  return {
    device,
    timeUs,
    // SHA-256 in one call costs 0.25 µs; md5 is slower and sha1 saves 0.03 µs.
    hash: hash('sha256', vitals, 'binary').slice(0, HASH_BYTES),
    vitals,
    fields,
    receivedAtMs
  }
}

/** Canonical JSON of all but `device` and `timestamp`. */
function toVitals (fields: ReadingRow['fields']): string {
  const names: string[] = []
  let isSorted = true
  for (const name in fields) {
    if (name === 'timestamp' || name === 'device') continue
    let at = names.length
    if (at < INSERTED_MAX) while (at > 0 && name < names[at - 1]!) names[at] = names[--at]!
    else isSorted = false
    names[at] = name
  }
  if (!isSorted) names.sort()
  let vitals = ''
  for (const name of names) vitals += `${vitals === '' ? '{' : ','}${toQuotedName(name)}:${toCanonicalJson(fields[name])}`
  return vitals === '' ? '{}' : vitals + '}'
}

/** The reading as it is sent to a subscriber, where its own bytes cannot be used. */
export function toPayload (row: ReadingRow): string {
  const device = JSON.stringify(row.device)
  return `{"device":${device},"timestamp":${row.timeUs / 1e6}${row.vitals === '{}' ? '' : ',' + row.vitals.slice(1, -1)}}`
}

/** The same for several. */
export function toArrayPayload (rows: readonly ReadingRow[]): Buffer {
  return Buffer.from(`[${rows.map(toPayload).join(',')}]`)
}
