/**
 * The order in which rows are written: by device, time and hash, within a month. Two batches that hold the same rows
 * then wait for each other's uncommitted keys in the same order. In the order of arrival each could wait for the other,
 * until PostgreSQL finds the deadlock after a second. Months come first because COPY collects rows by partition and
 * writes the keys of one partition after those of another.
 *
 * Rows are grouped by device, and only the names are sorted: 2,000 rows of 50 devices take 0.23 ms, of 5,000 devices
 * 0.55 (comparing whole rows 0.64). Folding the latest state needs the groups anyway.
 */
import type { DeadLetterRow, ReadingRow } from '../rows.ts'

export interface WriteOrder {
  /** By device, time and hash: for `latest`, which has one row a device and no months. */
  readonly byDevice: readonly ReadingRow[]
  /** By month, device, time and hash. */
  readonly history: readonly ReadingRow[]
}

/** Sorts a batch; equal rows stay in the order in which they came. */
export function toWriteOrder (rows: readonly ReadingRow[]): WriteOrder {
  const groups = new Map<string, ReadingRow[]>()
  for (const row of rows) {
    const group = groups.get(row.device)
    if (group === undefined) groups.set(row.device, [row])
    else group.push(row)
  }
  const byDevice: ReadingRow[] = []
  for (const device of [...groups.keys()].sort()) {
    const group = groups.get(device)!
    if (group.length > 1) group.sort(compareTimes)
    for (const row of group) byDevice.push(row)
  }
  return { byDevice, history: toHistoryOrder(byDevice) }
}

/** Letters have no key but their id. */
export function toLetterOrder (letters: readonly DeadLetterRow[]): readonly DeadLetterRow[] {
  return letters.length < 2 ? letters : letters.toSorted((a, b) => a.id < b.id ? -1 : 1)
}

function compareTimes (a: ReadingRow, b: ReadingRow): number {
  return a.timeUs - b.timeUs || (a.hash < b.hash ? -1 : a.hash > b.hash ? 1 : 0)
}

function toHistoryOrder (byDevice: readonly ReadingRow[]): readonly ReadingRow[] {
  const [first] = byDevice
  if (first === undefined) return byDevice
  const start = toMonthUs(first.timeUs, 0)
  const end = toMonthUs(first.timeUs, 1)
  if (byDevice.every(({ timeUs }) => timeUs >= start && timeUs < end)) return byDevice
  return byDevice.map((row) => ({
    row, month: toMonthUs(row.timeUs, 0)
  })).sort((a, b) => a.month - b.month).map(({ row }) => row)
}

/**
 * @returns Unix microseconds at which the month of `timeUs` begins, in UTC as the partitions do, or one `months` later
 */
function toMonthUs (timeUs: number, months: number): number {
  const date = new Date(timeUs / 1000)
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + months) * 1000
}
