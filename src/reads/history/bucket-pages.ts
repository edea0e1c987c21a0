import { type Bucket, type BucketSize, selectBuckets } from '../../../db/rollups/select-buckets.ts'
import { selectDayEdge } from '../../../db/queries/select-day-edge.ts'
import { selectExtent } from '../../../db/queries/select-history.ts'
import { BUCKET_SECONDS, type BucketName, encodeCursor, type HistoryRequest } from '../../../schemas/history.ts'
import type { Pages, Run } from './pages.ts'

/** Buckets asked for at a time: 500 days of 24 hours are 12,000 rows, 30 ms of PostgreSQL. */
const SLICE_BUCKETS_MAX = 500
/** Of a bucket with eight vital signs, as JSON. */
const BUCKET_BYTES = 800
const SECOND_US = 1e6
const PART_US = 300 * SECOND_US

/** The buckets of a device, in windows of the number that is asked for; a gap without data is passed at once. */
export function createBucketPages (device: string, request: HistoryRequest & { readonly every: BucketName }): Pages<Bucket> {
  const { every, timeZone, isDescending, after } = request
  const sizeUs = BUCKET_SECONDS[every] * SECOND_US
  const isOfZone = every === '1d' && timeZone !== 'UTC'
  const size: BucketSize = isOfZone ? { dayOf: timeZone } : { seconds: BUCKET_SECONDS[every] }
  let { fromUs, toUs } = request
  if (after !== null) {
    if (isDescending) toUs = Math.min(toUs, after.timeUs)
    else fromUs = Math.max(fromUs, after.timeUs)
  }
  let remaining = request.count
  let isDone = false
  let next: string | null = null
  /** Where the last window ended. */
  let edgeUs = isDescending ? toUs : fromUs

  /** Narrows the range to where the device has data. @returns whether it has any */
  async function narrow (run: Run): Promise<boolean> {
    const extent = fromUs < toUs
      ? await run((kysely) => selectExtent(kysely, device, fromUs, toUs), () => 0)
      : null
    if (extent === null) return false
    // To whole parts, so that readings stored meanwhile are not cut off from their bucket.
    fromUs = Math.max(fromUs, Math.floor(extent.firstUs / PART_US) * PART_US)
    toUs = Math.min(toUs, (Math.floor(extent.lastUs / PART_US) + 1) * PART_US)
    return true
  }

  /** The edge of the bucket that is `buckets` - 1 before or behind the one at the near end of the range. */
  async function toFarEdge (run: Run, buckets: number): Promise<number> {
    if (isOfZone) {
      const atUs = isDescending ? toUs - 1 : fromUs
      return await run((kysely) => selectDayEdge(kysely, timeZone, atUs, isDescending ? 1 - buckets : buckets), () => 0)
    }
    return isDescending
      ? (Math.floor((toUs - 1) / sizeUs) - buckets + 1) * sizeUs
      : (Math.floor(fromUs / sizeUs) + buckets) * sizeUs
  }

  async function selectWindow (run: Run, startUs: number, endUs: number, bucketsMax: number): Promise<Bucket[]> {
    return await run((kysely) => selectBuckets(kysely, {
      device,
      fromUs: startUs,
      toUs: endUs,
      size,
      hasWholeHours: isOfZone ? hasWholeHours(timeZone, startUs, endUs) : sizeUs >= 3600 * SECOND_US,
      isDescending,
      bucketsMax
    }), (buckets) => buckets.length * BUCKET_BYTES)
  }

  return {
    get isDone () { return isDone },
    get next () { return next },

    async slice (run: Run): Promise<Bucket[]> {
      if (!await narrow(run)) {
        isDone = true
        return []
      }
      if (remaining === 0) {
        isDone = true
        next = encodeCursor(request, { timeUs: edgeUs, hash: null })
        return []
      }
      const bucketsMax = Math.min(remaining, SLICE_BUCKETS_MAX)
      const farUs = await toFarEdge(run, bucketsMax)
      const buckets = isDescending
        ? await selectWindow(run, Math.max(farUs, fromUs), toUs, bucketsMax)
        : await selectWindow(run, fromUs, Math.min(farUs, toUs), bucketsMax)
      edgeUs = farUs
      if (isDescending) toUs = farUs
      else fromUs = farUs
      remaining -= buckets.length
      return buckets
    }
  }
}

const DAY_US = 86_400 * SECOND_US
/** No zone had an offset that is not whole hours for a shorter time. */
const OFFSET_STEP_US = 15 * DAY_US

/** Whether the zone's offset from UTC is whole hours all the time, so that its days consist of whole hours of UTC. */
function hasWholeHours (timeZone: string, fromUs: number, toUs: number): boolean {
  const format = new Intl.DateTimeFormat('en', { timeZone, timeZoneName: 'longOffset' })
  const isWhole = (unixUs: number) => {
    const offset = format.formatToParts(unixUs / 1000).find(({ type }) => type === 'timeZoneName')?.value ?? ''
    return !/:(?!00$)/.test(offset)
  }
  for (let atUs = fromUs - DAY_US; atUs < toUs + DAY_US; atUs += OFFSET_STEP_US) if (!isWhole(atUs)) return false
  return isWhole(toUs + DAY_US)
}
