/** Query and answer of `GET /vital-data`. Which vital signs a reading may have is in `reading.ts`. */
import Type, { type Static } from 'typebox'
import { DEVICE_PREFIX_PATTERN, DEVICE_PREFIX_RULE } from './device-id.ts'
import { FaultSchema, patternWithRule } from './fault.ts'

/** Resources on one page of `GET /vital-data`. */
export const PAGE_COUNT_MAX = 100

/** PostgreSQL walks over every row that it skips, so a page may not start arbitrarily far out. */
export const PAGE_OFFSET_MAX = 10_000_000

const SORT_KEYS = ['deviceId', 'heartRate', 'breathRate', 'timestamp'] as const

export type SortKey = typeof SORT_KEYS[number]

/** Room for a device id of 128 characters and a hundred numbers of transactions, as JSON in base64url. */
const CURSOR_LENGTH_MAX = 4096

const DURATION_UNITS_S: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 }
/** Each unit reaches a hundred years at least; PostgreSQL can still hold a time that long ago. */
const DURATION_PATTERN = '^(?:[1-9]\\d{0,9}s?|[1-9]\\d{0,7}m|[1-9]\\d{0,5}h|[1-9]\\d{0,4}d)$'

/**
 * The query of `GET /vital-data`, after defaults. Nulls come last in both directions, ties are ordered by `deviceId`.
 */
export const LatestQuerySchema = Type.Object({
  count: Type.Integer({ minimum: 1, maximum: PAGE_COUNT_MAX, default: 20, description: 'Resources on the page', examples: [20] }),
  offset: Type.Integer({
    minimum: 0, maximum: PAGE_OFFSET_MAX, default: 0, description: 'Resources to skip; 0 where left out', examples: [40]
  }),
  sortBy: Type.Enum([...SORT_KEYS], {
    default: 'timestamp', description: 'Resources without the value come last', examples: ['deviceId']
  }),
  orderBy: Type.Enum(['asc', 'desc'], {
    default: 'desc',
    description: 'Direction of sortBy; ties are ordered by deviceId',
    examples: ['asc']
  }),
  prefix: Type.Optional(Type.String({
    ...patternWithRule(DEVICE_PREFIX_PATTERN, DEVICE_PREFIX_RULE),
    description: 'Only devices whose id begins so',
    examples: ['ward-3-']
  })),
  silentFor: Type.Optional(Type.String({
    ...patternWithRule(DURATION_PATTERN, 'must be whole seconds such as 300, or a time such as 90s, 5m, 2h or 1d'),
    description: 'Only devices whose newest reading is at least so old, by the later of the clocks of gateway and ' +
      'PostgreSQL: seconds, or with a unit (`s`, `m`, `h`, `d`)',
    examples: ['5m']
  })),
  cursor: Type.Optional(Type.String({
    minLength: 1,
    maxLength: CURSOR_LENGTH_MAX,
    'x-excludes': ['offset'],
    examples: ['eyJxdWVyeSI6Ik5zN0p2c1hGUU5BIiwia2V5IjpudWxsLCJkZXZpY2UiOiJiYW5kLTE3In0'],
    description: '`next` of the page before, of the same sortBy, orderBy, prefix and silentFor; instead of offset. ' +
      'By deviceId each device comes once; by another sortBy no device comes twice, and one that moved meanwhile may ' +
      'be missed'
  }))
}, { additionalProperties: false })

export type LatestQuery = Static<typeof LatestQuerySchema>

/** @param duration - of the pattern of `silentFor` */
export function toDurationS (duration: string): number {
  const unitS = DURATION_UNITS_S[duration.at(-1) ?? '']
  return unitS === undefined ? Number(duration) : Number(duration.slice(0, -1)) * unitS
}

const unixSeconds = (description: string) => Type.Number({
  description: `${description}, Unix ` +
  'seconds',
  examples: [1735689600.25]
})

const rate = (description: string) => Type.Union([Type.Number(), Type.Null()], { description })

/** The latest state of one device, merged from every reading it ever sent. */
export const ResourceSchema = Type.Object({
  deviceId: Type.String({ examples: ['band-17'] }),
  timestamp: unixSeconds('Time of the newest reading'),
  heartRate: rate('heartRateValue as last measured; null when the device never sent one'),
  breathRate: rate('breathRateValue (or breathValue, its older name) as last measured; null when the device never ' +
    'sent one'),
  vitals: Type.Object({}, {
    additionalProperties: true,
    description: 'Every field last seen, under the name it was sent with',
    examples: [{ heartRateValue: 71, temperatureValue: 36.6 }]
  }),
  vitalTimestamps: Type.Object({}, {
    additionalProperties: Type.Number(),
    description: 'Field of vitals → Unix seconds at which it was measured',
    examples: [{ heartRateValue: 1735689600.25, temperatureValue: 1735686000 }]
  })
}, { additionalProperties: false })

export interface Resource {
  readonly deviceId: string
  /** Unix seconds, microseconds kept. */
  readonly timestamp: number
  readonly heartRate: number | null
  readonly breathRate: number | null
  readonly vitals: Readonly<Record<string, unknown>>
  /** Unix seconds by field of `vitals`. */
  readonly vitalTimestamps: Readonly<Record<string, number>>
}

/** The answer of `GET /vital-data`. */
export const ResourceListSchema = Type.Object({
  total: Type.Integer({ minimum: 0, description: 'Devices that match prefix and silentFor, whatever the page' }),
  resources: Type.Array(ResourceSchema),
  next: Type.Union([Type.String(), Type.Null()], { description: 'The cursor of the next page; null on the last one' })
}, { additionalProperties: false })

export interface ResourceList {
  readonly total: number
  readonly resources: readonly Resource[]
  readonly next: string | null
}

/** The answer of `POST /vital-data` once everything in the body is durable. */
export const AcceptedSchema = Type.Object({ status: Type.Literal('accepted') }, { additionalProperties: false })

/** Every answer with a status of 400 or more, except that of `/health`. */
export const ErrorAnswerSchema = Type.Object({
  statusCode: Type.Integer({ examples: [400] }),
  code: Type.String({ description: 'Stable; src/http/README.md lists all', examples: ['VITAL_INVALID_READING'] }),
  error: Type.String({ description: 'Name of the status', examples: ['Bad Request'] }),
  message: Type.String({ description: 'For a person' }),
  details: Type.Optional(Type.Array(FaultSchema, { description: 'Every fault found at once' }))
}, { additionalProperties: false })

export type ErrorAnswer = Static<typeof ErrorAnswerSchema>

/** The answer of `GET /health/live`: whether the process still makes progress. */
export const LiveSchema = Type.Object({
  status: Type.Enum(['live', 'stuck'])
}, { additionalProperties: false })

export type LiveAnswer = Static<typeof LiveSchema>

/** The answer of `GET /health/ready`: whether durability can be promised, by PostgreSQL or by the spool. */
export const ReadySchema = Type.Object({
  status: Type.Enum(['ready', 'unavailable']),
  database: Type.Optional(Type.Object({
    status: Type.Enum(['up', 'down'])
  }, { additionalProperties: true })),
  kafka: Type.Optional(Type.Object({
    status: Type.Enum(['up', 'down'])
  }, { additionalProperties: true, description: 'Only where readings are written to Kafka' })),
  spool: Type.Optional(Type.Object({
    status: Type.Enum(['absent', 'ok', 'full', 'failed']),
    bytes: Type.Integer({ minimum: 0, description: 'Waiting on disk for PostgreSQL' }),
    bytesMax: Type.Integer({ minimum: 0 })
  }, { additionalProperties: true })),
  warnings: Type.Optional(Type.Array(Type.String(), { description: 'Conditions that weaken the promise, as sentences' }))
}, { additionalProperties: false })

export type ReadyAnswer = Static<typeof ReadySchema>
