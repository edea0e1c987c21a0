import { ApiError, ask } from '../connection/api.ts'
import { createTrack, type HistoryBucket, type HistoryReading, type Track } from './track.ts'

const HOUR_S = 3600
const DAY_S = 86_400

/** Which averages a span is drawn of: some hundred points over the width of a screen. Below the first, readings. */
const RESOLUTIONS = [
  { spanMaxS: 2 * HOUR_S, every: null },
  { spanMaxS: 36 * HOUR_S, every: '5m' },
  { spanMaxS: 10 * DAY_S, every: '15m' },
  { spanMaxS: 60 * DAY_S, every: '1h' },
  { spanMaxS: Infinity, every: '1d' }
] as const

const BUCKET_S = { '1m': 60, '5m': 300, '15m': 900, '1h': HOUR_S, '1d': DAY_S } as const

type Every = keyof typeof BUCKET_S

/** Readings that one track holds; a device that sends more in its span is drawn of averages of a minute. */
const READINGS_MAX = 8000
/** Of lines of a stream; a year of days is far below. */
const BUCKETS_MAX = 2000

export interface Span {
  readonly fromS: number
  readonly toS: number
}

/** Asks the history for what `track` holds of a span. @throws {@link ApiError} */
async function fill (id: string, track: Track, every: Every | null, { fromS, toS }: Span, signal: AbortSignal): Promise<number> {
  const count = every === null ? READINGS_MAX : BUCKETS_MAX
  const query = new URLSearchParams({ from: fromS.toFixed(3), to: toS.toFixed(3), order: 'desc', format: 'ndjson', count: String(count) })
  if (every !== null) query.set('every', every)
  // A day is somebody's day.
  if (every === '1d') query.set('tz', Intl.DateTimeFormat().resolvedOptions().timeZone)
  let lines: string[]
  try {
    const text = await (await ask(`/vital-data/${encodeURIComponent(id)}/history?${query}`, { signal })).text()
    lines = text.split('\n').filter((line) => line !== '')
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return 0
    throw error
  }
  for (const line of lines) {
    if (every === null) track.takeReading(JSON.parse(line) as HistoryReading)
    else track.takeBucket(JSON.parse(line) as HistoryBucket)
  }
  return lines.length
}

const everyOf = (bucketS: number | null): Every | null =>
  (Object.keys(BUCKET_S) as Every[]).find((every) => BUCKET_S[every] === bucketS) ?? null

/**
 * Loads a span as readings or as averages, as fits.
 * @param onTrack - gets the track before it is filled, so that it can take what arrives meanwhile
 * @throws {@link ApiError}
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

/** Asks again for what came since the newest point: buckets still grow, and a live message may be lost. @throws {@link ApiError} */
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
