import Type, { type Static } from 'typebox'
import { type Fault } from './fault.ts'
import { VITAL_SIGNS } from './reading.ts'

/** Resources on one page of a history. */
const HISTORY_COUNT_MAX = 1000
const HISTORY_COUNT_DEFAULT = 100

/** Sizes of buckets. */
export const BUCKET_SECONDS = { '1m': 60, '5m': 300, '15m': 900, '1h': 3600, '1d': 86_400 } as const

export type BucketName = keyof typeof BUCKET_SECONDS

/** No reading is older than 1970, or of the year 5138: that would be milliseconds. */
export const FIRST_US = 0
export const LAST_US = 1e17

const FORMATS = ['json', 'ndjson', 'csv'] as const

export type HistoryFormat = typeof FORMATS[number]

const time = (description: string) => Type.Optional(Type.String({
  description: `${description}, Unix seconds or ISO 8601 with a zone`, examples: ['2025-01-01T00:00:00Z', '1735689600']
}))

/** The query of `GET /vital-data/{device}/history`, as it is sent; {@link parseHistoryQuery} checks the rest. */
export const HistoryQuerySchema = Type.Object({
  from: time('Readings from this time on; without it from the first'),
  to: time('Readings before this time; without it to the last'),
  every: Type.Optional(Type.Enum(Object.keys(BUCKET_SECONDS) as BucketName[], {
    description: 'Summaries of buckets of this size, instead of readings', examples: ['5m']
  })),
  tz: Type.Optional(Type.String({
    description: 'Time zone of the days of every=1d, a name of the IANA database; without it UTC',
    examples: ['Europe/Berlin']
  })),
  count: Type.Optional(Type.Integer({
    minimum: 1,
    description: `Resources on the page; JSON has ${HISTORY_COUNT_MAX} at most, ${HISTORY_COUNT_DEFAULT} without it. ` +
      'NDJSON and CSV have all without it',
    examples: [100]
  })),
  cursor: Type.Optional(Type.String({
    description: '`next` of the page before, with the same query', examples: ['WzE3MzU2ODk2MDAwMDAwMDBd']
  })),
  order: Type.Enum(['asc', 'desc'], { default: 'desc', description: 'By time; newest first without it', examples: ['asc'] }),
  format: Type.Optional(Type.Enum([...FORMATS], { description: 'Instead of the Accept header', examples: ['csv'] }))
}, { additionalProperties: false })

export type RawHistoryQuery = Static<typeof HistoryQuerySchema>

/** Numbers of one vital sign in a bucket. */
const SignSummarySchema = Type.Object({
  count: Type.Integer({ minimum: 1 }),
  min: Type.Number(),
  max: Type.Number(),
  mean: Type.Number(),
  first: Type.Number({ description: 'Of the earliest reading of the bucket' }),
  last: Type.Number({ description: 'Of the latest reading of the bucket' })
}, { additionalProperties: false })

const unixSeconds = (description: string) => Type.Number({ description, examples: [1735689600] })

/** One reading of a history. */
const HistoryReadingSchema = Type.Object({
  timestamp: unixSeconds('When it was measured, Unix seconds'),
  vitals: Type.Object({}, {
    additionalProperties: true,
    description: 'The reading as it was sent, without device and timestamp',
    examples: [{ heartRateValue: 71 }]
  }),
  receivedAt: unixSeconds('When the gateway received it, Unix seconds')
}, { additionalProperties: false })

/** One bucket of a history. Buckets without readings are left out. */
const HistoryBucketSchema = Type.Object({
  from: unixSeconds('Start of the bucket, Unix seconds'),
  to: unixSeconds('End of the bucket; a reading of this time belongs to the next one'),
  count: Type.Integer({ minimum: 1, description: 'Readings' }),
  vitals: Type.Object(Object.fromEntries(VITAL_SIGNS.map((sign) => [sign, Type.Optional(SignSummarySchema)])), {
    additionalProperties: false, description: 'Known vital signs that a reading of the bucket holds'
  })
}, { additionalProperties: false })

const next = Type.Union([Type.String(), Type.Null()], { description: 'Cursor of the next page; null on the last one' })
const deviceId = Type.String({ examples: ['band-17'] })

/** The answer without `every`. */
export const HistorySchema = Type.Object({
  deviceId, resources: Type.Array(HistoryReadingSchema), next
}, { additionalProperties: false })

/** The answer with `every`. */
export const BucketHistorySchema = Type.Object({
  deviceId,
  every: Type.Enum(Object.keys(BUCKET_SECONDS) as BucketName[]),
  resources: Type.Array(HistoryBucketSchema),
  next
}, { additionalProperties: false })

/** What {@link RawHistoryQuery} asks for. */
export interface HistoryRequest {
  /** Unix microseconds; from {@link FIRST_US} to {@link LAST_US} where the query has no bound. */
  readonly fromUs: number
  readonly toUs: number
  readonly every: BucketName | null
  readonly timeZone: string
  /** Resources at most; `Infinity` for a stream without `count`. */
  readonly count: number
  readonly isDescending: boolean
  readonly format: HistoryFormat
  readonly after: HistoryCursor | null
}

/** The last resource of a page: a reading by its key, or a bucket by its edge in the direction of the page. */
export interface HistoryCursor {
  readonly timeUs: number
  /** `null` for a bucket. */
  readonly hash: string | null
}

/**
 * @param raw - without the names that {@link HistoryQuerySchema} refused
 * @param accept - the header
 * @param refused - faults of the names that it refused; checks that depend on these names are left out
 */
export function parseHistoryQuery (
  raw: RawHistoryQuery, accept: string | undefined, refused: readonly Fault[] = []
): { readonly request: HistoryRequest } | { readonly faults: readonly Fault[] } {
  const faults = [...refused]
  const isRefused = (...names: readonly string[]) => refused.some(({ path }) => names.includes(path.slice(1)))
  const fault = (path: string, message: string) => { faults.push({ path, message }) }
  const every = raw.every ?? null
  const isDescending = raw.order === 'desc'
  const format = raw.format ?? toFormat(accept)
  const fromUs = parseTime(raw.from, FIRST_US, (message) => { fault('/from', message) })
  const toUs = parseTime(raw.to, LAST_US, (message) => { fault('/to', message) })
  if (fromUs > toUs) fault('/to', 'must not be before from')
  if (raw.tz !== undefined && every !== '1d' && !isRefused('every')) fault('/tz', 'goes with every=1d alone')
  if (raw.tz !== undefined && !isTimeZone(raw.tz)) {
    fault('/tz', 'must be a time zone of the IANA database, such as Europe/Berlin')
  }
  if (format === 'json' && !isRefused('format') && raw.count !== undefined && raw.count > HISTORY_COUNT_MAX) {
    fault('/count', `must be at most ${HISTORY_COUNT_MAX}; NDJSON and CSV have no bound`)
  }
  const cursorKind = isRefused('every', 'order') ? null : toCursorKind(every, isDescending)
  const after = raw.cursor === undefined ? null : decodeCursor(raw.cursor, cursorKind)
  if (after === undefined) fault('/cursor', 'must be `next` of a page of the same query')
  if (faults.length > 0 || after === undefined) return { faults }
  const count = raw.count ?? (format === 'json' ? HISTORY_COUNT_DEFAULT : Infinity)
  return { request: { fromUs, toUs, every, timeZone: raw.tz ?? 'UTC', count, isDescending, format, after } }
}

/** An `Accept` that names neither NDJSON nor CSV gets JSON. */
function toFormat (accept = ''): HistoryFormat {
  const types = accept.toLowerCase().split(',').map((type) => type.split(';', 1)[0]!.trim())
  const format = types.map((type) => FORMAT_OF_TYPE.get(type)).find((known) => known !== undefined)
  return format ?? 'json'
}

const FORMAT_OF_TYPE: ReadonlyMap<string, HistoryFormat> = new Map([
  ['application/json', 'json'], ['application/x-ndjson', 'ndjson'], ['application/ndjson', 'ndjson'],
  ['text/csv', 'csv']
])

const UNIX_SECONDS = /^\d{1,11}(?:\.\d{1,6})?$/
// The + of a zone arrives as a space when the URL does not encode it.
const ISO_TIME = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:[.,](\d{1,6})\d*)?(Z|[+ -]\d{2}:?\d{2}))?$/i

/** @returns Unix microseconds */
function parseTime (text: string | undefined, byDefault: number, onFault: (message: string) => void): number {
  if (text === undefined) return byDefault
  if (UNIX_SECONDS.test(text)) return Math.round(Number(text) * 1e6)
  const [, date, clock = '00:00', fraction = '', zone = 'Z'] = ISO_TIME.exec(text) ?? []
  const offset = zone.toUpperCase() === 'Z' ? 'Z' : zone.replace(' ', '+').replace(/^(.\d{2}):?(\d{2})$/, '$1:$2')
  const unixMs = date === undefined ? NaN : Date.parse(`${date}T${clock}${clock.length === 5 ? ':00' : ''}${offset}`)
  if (!Number.isNaN(unixMs)) return unixMs * 1000 + Number(fraction.padEnd(6, '0'))
  onFault(/^\d{12,}/.test(text)
    ? 'must be Unix seconds; this looks like milliseconds'
    : 'must be Unix seconds, or ISO 8601 with a zone: 2025-01-01T00:00:00Z')
  return byDefault
}

function isTimeZone (name: string): boolean {
  // PostgreSQL reads an offset such as +02:00 with the opposite sign.
  if (!/^[A-Za-z]/.test(name)) return false
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== ''
  } catch {
    return false
  }
}

const CURSOR = /^([a-z0-9]+):(-?\d{1,17})(?::([0-9a-f-]{36}))?$/

/** The kind of query that a cursor belongs to. */
function toCursorKind (every: BucketName | null, isDescending: boolean): string {
  return `${every ?? 'r'}${isDescending ? 'd' : 'a'}`
}

/** An opaque text. */
export function encodeCursor (
  { every, isDescending }: Pick<HistoryRequest, 'every' | 'isDescending'>, { timeUs, hash }: HistoryCursor
): string {
  const text = `${toCursorKind(every, isDescending)}:${timeUs}${hash === null ? '' : `:${hash}`}`
  return Buffer.from(text).toString('base64url')
}

/** @param kind - `null` for any */
function decodeCursor (text: string, kind: string | null): HistoryCursor | undefined {
  const [, kindGiven, timeUs, hash = null] = CURSOR.exec(Buffer.from(text, 'base64url').toString('latin1')) ?? []
  if (kindGiven === undefined || timeUs === undefined || kindGiven !== (kind ?? kindGiven)) return undefined
  if ((hash === null) !== /^\d/.test(kindGiven)) return undefined
  return { timeUs: Number(timeUs), hash }
}
