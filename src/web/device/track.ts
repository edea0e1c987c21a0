import type { HistoryBucket, HistoryReading } from '../connection/history-lines.ts'
import type { VitalSign } from '../vital-signs.ts'

/**
 * The points of one vital sign as they are drawn: `null` in `value` and `low` where the line is broken. Blood pressure
 * has its systolic and diastolic in `high` and `low`, and no `value`. Averages have the highest and the lowest value of
 * their bucket there.
 */
export interface Columns {
  readonly x: number[]
  readonly low: Array<number | null>
  readonly high: Array<number | null>
  readonly value: Array<number | null>
}

export interface TrackPoint {
  readonly atS: number
  readonly value: number | null
  readonly low: number | null
  readonly high: number | null
}

interface Drawn {
  readonly points: TrackPoint[]
  readonly gapS: number
  readonly columns: Columns
}

/** A value is shown under the cursor, and joined to the next one, over this many of the device's own intervals. */
const INTERVALS_MAX = 3
const GAP_MIN_S = 10
/** Blood pressure and temperature are measured now and then. */
const OCCASIONAL_GAP_MIN_S = 1800

/**
 * Readings of one device over a span of time, or averages of buckets of `bucketS`. Takes them in any order and more
 * than once, so that the history and live readings join without a seam.
 */
export function createTrack (bucketS: number | null) {
  const readings = new Map<number, Record<string, unknown>>()
  const buckets = new Map<number, HistoryBucket>()
  /** By vital sign, until something changes. */
  let kept = new Map<string, Drawn>()
  let lastS: number | null = null

  function changed (atS: number): void {
    kept = new Map()
    lastS = Math.max(lastS ?? -Infinity, atS)
  }

  function toPoints (sign: VitalSign): TrackPoint[] {
    const points = bucketS === null
      ? [...readings].flatMap(([atS, vitals]) => toReadingPoint(sign, atS, vitals))
      : [...buckets.values()].flatMap((bucket) => toBucketPoint(sign, bucket))
    return points.sort((a, b) => a.atS - b.atS)
  }

  function drawnOf (sign: VitalSign): Drawn {
    let found = kept.get(sign.id)
    if (found === undefined) {
      const points = toPoints(sign)
      const gapS = toGapS(points, sign.isOccasional === true, bucketS)
      kept.set(sign.id, found = { points, gapS, columns: toColumns(points, gapS) })
    }
    return found
  }

  return {
    bucketS,
    /** Unix seconds of the newest reading, or of the start of the newest bucket; `null` while there is none. */
    get lastS (): number | null { return lastS },

    takeReading ({ timestamp, vitals }: HistoryReading): void {
      // A reading that comes twice, or whose fields come one by one, is one point.
      readings.set(timestamp, { ...readings.get(timestamp), ...vitals })
      changed(timestamp)
    },
    takeBucket (bucket: HistoryBucket): void {
      buckets.set(bucket.from, bucket)
      changed(bucket.from)
    },
    /** Forgets readings before `fromS`: a live track would grow for as long as its page is open. */
    trim (fromS: number): void {
      for (const timestamp of readings.keys()) if (timestamp < fromS) readings.delete(timestamp)
      for (const [from, { to }] of buckets) if (to < fromS) buckets.delete(from)
      kept = new Map()
    },
    /** How many points there are in all. */
    get size (): number { return readings.size + buckets.size },

    /** The same object until something changes. */
    columnsOf: (sign: VitalSign): Columns => drawnOf(sign).columns,
    /** The point nearest to `atS`; `null` where the line is broken. */
    pointAt (sign: VitalSign, atS: number): TrackPoint | null {
      const { points, gapS } = drawnOf(sign)
      const nearest = findNearest(points, atS)
      return nearest !== null && Math.abs(nearest.atS - atS) <= gapS / 2 ? nearest : null
    },
    /** Unix seconds of the next point in the direction, of any of the signs. */
    stepFrom (signs: readonly VitalSign[], atS: number, direction: 1 | -1): number | null {
      let best: number | null = null
      for (const { atS: at } of signs.flatMap((sign) => drawnOf(sign).points)) {
        if ((at - atS) * direction > 0.001 && (best === null || (best - at) * direction > 0)) best = at
      }
      return best
    }
  }
}

export type Track = ReturnType<typeof createTrack>

function toReadingPoint (sign: VitalSign, atS: number, vitals: Readonly<Record<string, unknown>>): TrackPoint[] {
  const value = sign.fields.map((field) => vitals[field]).find((field) => typeof field === 'number')
  if (value === undefined) return []
  if (sign.lowField === undefined) return [{ atS, value, low: null, high: null }]
  const low = vitals[sign.lowField]
  return [{ atS, value: null, low: typeof low === 'number' ? low : null, high: value }]
}

function toBucketPoint (sign: VitalSign, { from, to, vitals }: HistoryBucket): TrackPoint[] {
  const summary = sign.fields.map((field) => vitals[field]).find((field) => field !== undefined)
  if (summary === undefined) return []
  const atS = (from + to) / 2
  if (sign.lowField === undefined) return [{ atS, value: summary.mean, low: summary.min, high: summary.max }]
  return [{ atS, value: null, low: vitals[sign.lowField]?.mean ?? null, high: summary.mean }]
}

/** The line ends after this time without a value. The median interval counts, so that a gap does not widen it. */
function toGapS (points: readonly TrackPoint[], isOccasional: boolean, bucketS: number | null): number {
  const intervals = points.slice(1).map(({ atS }, index) => atS - points[index]!.atS).sort((a, b) => a - b)
  const medianS = intervals[Math.floor(intervals.length / 2)] ?? 0
  const leastS = isOccasional ? OCCASIONAL_GAP_MIN_S : GAP_MIN_S
  return Math.max(leastS, INTERVALS_MAX * medianS, (bucketS ?? 0) * 1.5)
}

function toColumns (points: readonly TrackPoint[], gapS: number): Columns {
  const columns: Columns = { x: [], low: [], high: [], value: [] }
  const add = (atS: number, value: number | null, low: number | null, high: number | null) => {
    columns.x.push(atS)
    columns.value.push(value)
    columns.low.push(low)
    columns.high.push(high)
  }
  let beforeS = Infinity
  for (const { atS, value, low, high } of points) {
    if (atS - beforeS > gapS) add((atS + beforeS) / 2, null, null, null)
    add(atS, value, low, high)
    beforeS = atS
  }
  return columns
}

function findNearest (points: readonly TrackPoint[], atS: number): TrackPoint | null {
  let [low, high] = [0, points.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (points[middle]!.atS < atS) low = middle + 1
    else high = middle
  }
  const [before, after] = [points[low - 1], points[low]]
  if (before === undefined || after === undefined) return before ?? after ?? null
  return atS - before.atS <= after.atS - atS ? before : after
}
