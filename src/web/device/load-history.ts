import { type Every, readHistory } from '../connection/history.ts'
import { createTrack, type Track } from './track.ts'

const HOUR_S = 3600
const DAY_S = 86_400

/** The averages that a span is drawn from, some hundred points over the width of a screen; `null`: readings. */
const RESOLUTIONS = [
  { spanMaxS: 2 * HOUR_S, every: null },
  { spanMaxS: 36 * HOUR_S, every: '5m' },
  { spanMaxS: 10 * DAY_S, every: '15m' },
  { spanMaxS: 60 * DAY_S, every: '1h' },
  { spanMaxS: Infinity, every: '1d' }
] as const

const BUCKET_S: Readonly<Record<Every, number>> = { '1m': 60, '5m': 300, '15m': 900, '1h': HOUR_S, '1d': DAY_S }

/** Readings that one track holds; a device that sends more in its span is drawn from averages of a minute. */
const READINGS_MAX = 8000
/** Lines of one stream; a year of days is far below. */
const BUCKETS_MAX = 2000

export interface Span {
  readonly fromS: number
  readonly toS: number
}

/** Asks the history for a span. @returns how many lines it had. @throws `ApiError` */
async function fill (id: string, track: Track, every: Every | null, span: Span, signal: AbortSignal): Promise<number> {
  if (every === null) {
    const readings = await readHistory(id, { ...span, every, count: READINGS_MAX }, signal)
    for (const reading of readings) track.takeReading(reading)
    return readings.length
  }
  const buckets = await readHistory(id, { ...span, every, count: BUCKETS_MAX }, signal)
  for (const bucket of buckets) track.takeBucket(bucket)
  return buckets.length
}

const everyOf = (bucketS: number | null): Every | null =>
  (Object.keys(BUCKET_S) as Every[]).find((every) => BUCKET_S[every] === bucketS) ?? null

/**
 * Loads a span as readings or as averages, by its length.
 * @param onTrack - gets the track before it is filled, so that it can take readings that arrive meanwhile
 * @throws `ApiError`
 */
export async function loadHistory (
  id: string, span: Span, signal: AbortSignal, onTrack: (track: Track) => void
): Promise<Track> {
  const spanS = span.toS - span.fromS
  const load = async (every: Every | null) => {
    const track = createTrack(every === null ? null : BUCKET_S[every])
    onTrack(track)
    return { track, count: await fill(id, track, every, span, signal) }
  }
  const { every } = RESOLUTIONS.find(({ spanMaxS }) => spanS <= spanMaxS)!
  const { track, count } = await load(every)
  if (every === null && count >= READINGS_MAX) return (await load('1m')).track
  // Averages are kept for longer than readings where the operator says so.
  if (every === null && count === 0) return (await load('5m').then((older) => older.count > 0 ? older : load(null))).track
  return track
}

/**
 * Asks for the history since the newest point: buckets still grow, and a live message may be lost.
 * @throws `ApiError`
 */
export async function refreshHistory (id: string, track: Track, span: Span, signal: AbortSignal): Promise<void> {
  const every = everyOf(track.bucketS)
  const overlapS = track.bucketS === null ? 5 : 0
  const fromS = Math.max(span.fromS, (track.lastS ?? span.fromS) - overlapS)
  await fill(id, track, every, { fromS, toS: span.toS }, signal)
}

/** How often a live track is asked for again, in milliseconds. */
export function refreshIntervalMs ({ bucketS }: Track): number {
  if (bucketS === null) return 60_000
  return bucketS <= 300 ? 10_000 : 30_000
}
