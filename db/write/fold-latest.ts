import { toEffectiveUs } from '../effective-time.ts'
import { compareJson } from '../json-order.ts'
import { toQuotedName } from '../quoted-names.ts'
import type { ReadingRow } from '../rows.ts'
import { toUnixSeconds } from '../unix-seconds.ts'

/** A device's latest state by the readings of one batch. Times are Unix microseconds, see {@link toEffectiveUs}. */
export interface LatestRow {
  readonly device: string
  /** Of the newest reading. */
  readonly timeUs: number
  /** Of the oldest value in `vitals`: a stored row that is older takes all of them without a comparison by field. */
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

/**
 * Folds a batch into one row a device: each field takes the value with the newest time, of two at that time the larger,
 * whatever order readings came in. Needed because ON CONFLICT cannot touch a row twice, and cheaper than one upsert a
 * reading.
 * @param rows - those of a device stand together; devices sorted, so that two writers lock rows in the same order and
 *   cannot deadlock
 */
export function foldLatest (rows: readonly ReadingRow[]): LatestRow[] {
  const latest: LatestRow[] = []
  for (let from = 0; from < rows.length;) {
    const { device } = rows[from]!
    let to = from + 1
    while (to < rows.length && rows[to]!.device === device) to++
    // The usual case: the JSON of the only reading is used as it is.
    latest.push(to === from + 1 ? single(rows[from]!) : merged(device, rows, from, to))
    from = to
  }
  return latest
}

function lay (values: Map<string, { value: unknown, timeUs: number }>, { fields }: ReadingRow, timeUs: number): void {
  for (const name in fields) {
    if (!isField(name)) continue
    const known = values.get(name)
    if (known === undefined) values.set(name, { value: fields[name], timeUs })
    else if (timeUs > known.timeUs || (timeUs === known.timeUs && compareJson(fields[name], known.value) > 0)) {
      known.value = fields[name]
      known.timeUs = timeUs
    }
  }
}

function single (row: ReadingRow): LatestRow {
  const timeUs = toEffectiveUs(row)
  const seconds = toUnixSeconds(timeUs)
  let vitalTimes = ''
  for (const name in row.fields) {
    if (isField(name)) vitalTimes += `${vitalTimes === '' ? '{' : ','}${toQuotedName(name)}:${seconds}`
  }
  return {
    device: row.device,
    timeUs,
    oldestTimeUs: timeUs,
    vitals: row.vitals,
    vitalTimes: vitalTimes === '' ? '{}' : vitalTimes + '}',
    heartRate: toRate(row.fields['heartRateValue']),
    breathRate: toRate(row.fields['breathRateValue'] ?? row.fields['breathValue'])
  }
}

function merged (device: string, rows: readonly ReadingRow[], from: number, to: number): LatestRow {
  const values = new Map<string, { value: unknown, timeUs: number }>()
  let timeUs = -Infinity
  for (let at = from; at < to; at++) {
    const effectiveUs = toEffectiveUs(rows[at]!)
    lay(values, rows[at]!, effectiveUs)
    if (effectiveUs > timeUs) timeUs = effectiveUs
  }
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
  return rate === undefined || (olderName !== undefined && olderName.timeUs > rate.timeUs)
    ? olderName?.value
    : rate.value
}

/** The schema accepts only numbers. */
function toRate (value: unknown): number | null {
  return typeof value === 'number' ? value : null
}

function isField (name: string): boolean {
  return name !== 'timestamp' && name !== 'device'
}
