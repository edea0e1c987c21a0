import { toQuotedName } from './quoted-names.ts'
import type { ReadingRow } from './rows.ts'
import { toUnixSeconds } from './unix-seconds.ts'

/** What one batch knows of a device's latest state. Times are Unix microseconds. */
export interface LatestRow {
  readonly device: string
  /** Of the newest reading. */
  readonly timeUs: number
  /** Of the oldest value in `vitals`: when the stored row is not newer than this, the whole row may be laid over it. */
  readonly oldestTimeUs: number
  /** Field → value, as JSON. */
  readonly vitals: string
  /** Field → Unix seconds, as JSON. */
  readonly vitalTimes: string
  readonly heartRate: number | null
  /** `breathRateValue` or its older name `breathValue`, whichever is newer; the former at the same instant. */
  readonly breathRate: number | null
}

type Values = ReadonlyMap<string, { readonly value: unknown, readonly timeUs: number }>

interface Folding {
  first: ReadingRow
  timeUs: number
  /** `null` while the device has only one reading, the usual case: its JSON is used as it is. */
  values: Map<string, { value: unknown, timeUs: number }> | null
}

/**
 * Folds a batch into one row a device: each field takes the value with the newest time, whatever order readings came in.
 * Needed because ON CONFLICT cannot touch a row twice, and cheaper than one upsert a reading.
 * Sorted by device, so that two writers lock rows in the same order and cannot deadlock.
 */
export function foldLatest (rows: readonly ReadingRow[]): LatestRow[] {
  const devices = new Map<string, Folding>()
  for (const row of rows) {
    const folding = devices.get(row.device)
    if (folding === undefined) {
      devices.set(row.device, { first: row, timeUs: row.timeUs, values: null })
    } else {
      if (folding.values === null) {
        folding.values = new Map()
        lay(folding.values, folding.first)
      }
      lay(folding.values, row)
      if (row.timeUs > folding.timeUs) folding.timeUs = row.timeUs
    }
  }
  const latest: LatestRow[] = []
  for (const { first, timeUs, values } of devices.values()) {
    latest.push(values === null ? single(first) : merged(first.device, timeUs, values))
  }
  return latest.sort((a, b) => a.device < b.device ? -1 : 1)
}

function lay (values: Map<string, { value: unknown, timeUs: number }>, row: ReadingRow): void {
  const { timeUs, fields } = row
  for (const name in fields) {
    if (!isField(name)) continue
    const known = values.get(name)
    if (known === undefined) values.set(name, { value: fields[name], timeUs })
    else if (timeUs >= known.timeUs) {
      known.value = fields[name]
      known.timeUs = timeUs
    }
  }
}

function single (row: ReadingRow): LatestRow {
  const seconds = toUnixSeconds(row.timeUs)
  let vitalTimes = ''
  for (const name in row.fields) {
    if (isField(name)) vitalTimes += `${vitalTimes === '' ? '{' : ','}${toQuotedName(name)}:${seconds}`
  }
  return {
    device: row.device,
    timeUs: row.timeUs,
    oldestTimeUs: row.timeUs,
    vitals: row.vitals,
    vitalTimes: vitalTimes === '' ? '{}' : vitalTimes + '}',
    heartRate: toRate(row.fields['heartRateValue']),
    breathRate: toRate(row.fields['breathRateValue'] ?? row.fields['breathValue'])
  }
}

function merged (device: string, timeUs: number, values: Values): LatestRow {
  let vitals = ''
  let vitalTimes = ''
  let oldestTimeUs = timeUs
  for (const [field, { value, timeUs: fieldTimeUs }] of values) {
    const key = `${vitals === '' ? '{' : ','}${toQuotedName(field)}:`
    vitals += key + JSON.stringify(value)
    vitalTimes += key + toUnixSeconds(fieldTimeUs)
    if (fieldTimeUs < oldestTimeUs) oldestTimeUs = fieldTimeUs
  }
  const isEmpty = vitals === ''
  return {
    device,
    timeUs,
    oldestTimeUs,
    vitals: isEmpty ? '{}' : vitals + '}',
    vitalTimes: isEmpty ? '{}' : vitalTimes + '}',
    heartRate: toRate(values.get('heartRateValue')?.value),
    breathRate: toRate(newestBreathRate(values))
  }
}

function newestBreathRate (values: Values): unknown {
  const rate = values.get('breathRateValue')
  const olderName = values.get('breathValue')
  return rate === undefined || (olderName !== undefined && olderName.timeUs > rate.timeUs) ? olderName?.value : rate.value
}

/** The schema lets nothing but numbers through. */
function toRate (value: unknown): number | null {
  return typeof value === 'number' ? value : null
}

function isField (name: string): boolean {
  return name !== 'timestamp' && name !== 'device'
}
