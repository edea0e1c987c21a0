/**
 * Averages of one device, exact at the instant of their snapshot:
 *
 *            from          rolled from                       closed_before     to
 *   readings  ├──── edge ────┤                                     ├─── open ───┤
 *   5 minutes                ├─ edge ─┤      the rest of a marked hour ├─ edge ─┤
 *   1 hour                            ├───────────────────────┤
 *
 * Each stretch comes from the largest buckets that lie within it and are neither open nor marked: hours, then five
 * minutes. Readings fill the rest: the edges of a range that begins or ends within a bucket, marked buckets, and times
 * that are not built yet. Where retention removed the readings, roll-ups are final and their marks are ignored.
 */
import { type Kysely, type RawBuilder, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import { toTimestamp } from '../timestamp.ts'
import { COLUMN_LIST, GROUPED_SUMS_OF_READINGS, SIGN_COLUMNS, signValues, SUMS_OF_BUCKETS } from './sign-columns.ts'
import { FIVE_MINUTES_S, floorTo, HOUR_S, readState } from './turn.ts'

const SECOND_US = 1e6
const FIVE_US = FIVE_MINUTES_S * SECOND_US
const HOUR_US = HOUR_S * SECOND_US

/** Buckets on Unix time of so many seconds, or the days of a zone of the IANA database. */
export type BucketSize = { readonly seconds: number } | { readonly dayOf: string }

export interface BucketQuery {
  readonly device: string
  /** Unix microseconds; readings with `fromUs` ≤ time < `toUs` count. */
  readonly fromUs: number
  readonly toUs: number
  readonly size: BucketSize
  /** Whether each bucket consists of whole hours of Unix time. */
  readonly hasWholeHours: boolean
  readonly isDescending: boolean
  readonly bucketsMax: number
}

/** Numbers as PostgreSQL printed them, so that no digit is lost. */
export interface SignSummary {
  readonly count: number
  readonly min: string
  readonly max: string
  readonly sum: string
  /** Of 30 decimals. */
  readonly mean: string
  readonly first: string
  readonly last: string
}

export interface Bucket {
  /** Unix seconds. */
  readonly from: number
  readonly to: number
  readonly count: number
  /** Of the vital signs that the bucket has; by the name that they were sent with. */
  readonly vitals: ReadonlyArray<readonly [sign: string, summary: SignSummary]>
}

/** @returns the first buckets of the range in the order asked for, without those that have no reading */
export async function selectBuckets (kysely: Kysely<Tables>, query: BucketQuery): Promise<Bucket[]> {
  if (query.fromUs >= query.toUs) return []
  return await kysely.transaction().setIsolationLevel('repeatable read').setAccessMode('read only')
    .execute(async (snapshot) => {
      const { rows } = await toStatement(query, await selectStretches(snapshot, query)).execute(snapshot)
      return rows.map(toBucket)
    })
}

/** From the first to before the second, Unix microseconds. */
type Stretch = readonly [fromUs: number, toUs: number]

/** The parts of the range, by the table that they are read from. */
interface Stretches {
  readonly hours: readonly Stretch[]
  readonly fives: readonly Stretch[]
  readonly readings: readonly Stretch[]
  /** Marked: within stretches of larger buckets they are left out. */
  readonly lateHoursUs: readonly number[]
  readonly lateFivesUs: readonly number[]
}

async function selectStretches (snapshot: Kysely<Tables>, query: BucketQuery): Promise<Stretches> {
  const { device, fromUs, toUs, size, hasWholeHours } = query
  if ('seconds' in size && size.seconds < FIVE_MINUTES_S) {
    return { hours: [], fives: [], readings: [[fromUs, toUs]], lateHoursUs: [], lateFivesUs: [] }
  }
  const { closedBefore, builtFrom, sealedBefore } = await readState(snapshot)
  const rolledFromUs = Math.min(Math.max(builtFrom * SECOND_US, ceilTo(fromUs, FIVE_US)), toUs)
  const rolledToUs = Math.max(rolledFromUs, Math.min(closedBefore * SECOND_US, floorTo(toUs, FIVE_US)))
  const hoursFromUs = hasWholeHours ? Math.min(ceilTo(rolledFromUs, HOUR_US), rolledToUs) : rolledToUs
  const hoursToUs = hasWholeHours ? Math.max(hoursFromUs, floorTo(rolledToUs, HOUR_US)) : rolledToUs
  const lateFivesUs = await selectLate(snapshot, device, [Math.max(rolledFromUs, sealedBefore * SECOND_US), rolledToUs])
  const lateHoursUs = [...new Set(lateFivesUs.map((timeUs) => floorTo(timeUs, HOUR_US)))]
    .filter((hourUs) => hourUs >= hoursFromUs && hourUs < hoursToUs)
  const isLong = ([startUs, endUs]: Stretch) => startUs < endUs
  const from = (sizeUs: number) => (startUs: number): Stretch => [startUs, startUs + sizeUs]
  return {
    hours: [[hoursFromUs, hoursToUs] as const].filter(isLong),
    fives: [
      ...[[rolledFromUs, hoursFromUs], [hoursToUs, rolledToUs]] as const, ...lateHoursUs.map(from(HOUR_US))
    ].filter(isLong),
    readings: [
      ...[[fromUs, rolledFromUs], [rolledToUs, toUs]] as const, ...lateFivesUs.map(from(FIVE_US))
    ].filter(isLong),
    lateHoursUs,
    lateFivesUs
  }
}

/** Marked buckets, each once. */
async function selectLate (
  snapshot: Kysely<Tables>, device: string, [fromUs, toUs]: Stretch
): Promise<number[]> {
  const { rows } = await sql<{ timeS: number }>`
    select distinct extract(epoch from time)::float8 as "timeS" from rollup_late
    where device = ${device} and time >= ${toTimestamp(fromUs)} and time < ${toTimestamp(toUs)}`.execute(snapshot)
  return rows.map(({ timeS }) => timeS * SECOND_US)
}

function toStatement (query: BucketQuery, stretches: Stretches) {
  const { device, size, isDescending, bucketsMax } = query
  const order = sql.raw(isDescending ? 'desc' : 'asc')
  const partSeconds = 'seconds' in size ? Math.min(size.seconds, FIVE_MINUTES_S) : FIVE_MINUTES_S
  const parts = [
    ...rollups('rollups_1h', device, stretches.hours, stretches.lateHoursUs),
    ...rollups('rollups_5m', device, stretches.fives, stretches.lateFivesUs),
    ...readings(device, stretches.readings, partSeconds)
  ]
  return sql<Readonly<Record<string, number | string | null>>>`
    select extract(epoch from bucket)::float8 as bucket_from, extract(epoch from ${toEnd(size)})::float8 as bucket_to,
      ${COLUMN_LIST}, ${MEANS}
    from (
      select bucket, ${SUMS_OF_BUCKETS} from (
        select ${toStart(size)} as bucket, parts.*
        from (${sql.join(parts, sql` union all `)}) as parts (time, ${COLUMN_LIST}) order by 1, time
      ) ordered group by bucket order by bucket ${order} limit ${bucketsMax}::int
    ) as buckets (bucket, ${COLUMN_LIST})
    order by bucket ${order}`
}

/** A quotient of `numeric` has as many decimals as its divisor; alone it would have 16 digits, and a double has 17. */
const MEANS = sql.raw(Object.values(SIGN_COLUMNS).map((sign) =>
  `${sign}_sum / round(nullif(${sign}_count, 0)::numeric, 30) as ${sign}_mean`).join(', '))

/** Each bucket consists of whole parts. */
function toStart (size: BucketSize): RawBuilder<unknown> {
  return 'seconds' in size
    ? sql`date_bin(make_interval(secs => ${size.seconds}), time, timestamptz 'epoch')`
    : sql`date_trunc('day', time, ${size.dayOf})`
}

/** A day has 23 to 25 hours. */
function toEnd (size: BucketSize): RawBuilder<unknown> {
  return 'seconds' in size
    ? sql`bucket + make_interval(secs => ${size.seconds})`
    : sql`date_trunc('day', bucket + interval '36 hours', ${size.dayOf})`
}

const toTimes = (unixUs: readonly number[]) =>
  sql`array(select to_timestamp(s) from unnest(${unixUs.map((timeUs) => timeUs / SECOND_US)}::float8[]) s)`

/** A stretch has a branch of its own, as long as there are few. */
const BRANCHES_MAX = 2

type ToBranch = (from: RawBuilder<unknown>, to: RawBuilder<unknown>) => RawBuilder<unknown>

/** @returns branches of a union: the first stretches by constants, and all others together */
function toBranches (stretches: readonly Stretch[], toBranch: ToBranch): Array<RawBuilder<unknown>> {
  const branches = stretches.slice(0, BRANCHES_MAX).map(([fromUs, toUs]) => toBranch(toTimestamp(fromUs), toTimestamp(toUs)))
  const others = stretches.slice(BRANCHES_MAX)
  if (others.length === 0) return branches
  const edges = (index: 0 | 1) => others.map((stretch) => stretch[index] / SECOND_US)
  return [...branches, sql`
    select of_stretch.* from unnest(${edges(0)}::float8[], ${edges(1)}::float8[]) stretches (a, b)
    cross join lateral (${toBranch(sql`to_timestamp(a)`, sql`to_timestamp(b)`)}) of_stretch`]
}

/** @param exceptUs - starts of buckets that are left out */
function rollups (
  table: string, device: string, stretches: readonly Stretch[], exceptUs: readonly number[]
): Array<RawBuilder<unknown>> {
  const except = exceptUs.length === 0 ? sql`` : sql`and time <> all(${toTimes(exceptUs)})`
  return toBranches(stretches, (from, to) => sql`
    select time, ${COLUMN_LIST} from ${sql.table(table)}
    where device = ${device} and time >= ${from} and time < ${to} ${except}`)
}

/** @param seconds - of the buckets in which they are summed up */
function readings (device: string, stretches: readonly Stretch[], seconds: number): Array<RawBuilder<unknown>> {
  return toBranches(stretches, (from, to) => sql`
    select part, ${GROUPED_SUMS_OF_READINGS} from (
      select date_bin(make_interval(secs => ${seconds}), time, timestamptz 'epoch') as part, time, ${signValues(true)}
      from readings where device = ${device} and time >= ${from} and time < ${to} order by 1, time, hash) readings
    group by part`)
}

function ceilTo (timeUs: number, sizeUs: number): number {
  return Math.ceil(timeUs / sizeUs) * sizeUs
}

function toBucket (row: Readonly<Record<string, number | string | null>>): Bucket {
  const vitals: Array<readonly [string, SignSummary]> = []
  for (const [sign, column] of Object.entries(SIGN_COLUMNS)) {
    const count = Number(row[`${column}_count`])
    if (count === 0) continue
    const fact = (name: string) => String(row[`${column}_${name}`])
    vitals.push([sign, {
      count, min: fact('min'), max: fact('max'), sum: fact('sum'), mean: fact('mean'), first: fact('first'), last: fact('last')
    }])
  }
  return { from: Number(row['bucket_from']), to: Number(row['bucket_to']), count: Number(row['readings']), vitals }
}
