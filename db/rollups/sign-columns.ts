/** The vital signs that are rolled up, and their columns in `rollups_5m` and `rollups_1h`. */
import { type RawBuilder, sql } from 'kysely'
import type { VitalSign } from '../../schemas/reading.ts'

/** Prefix of the columns of each vital sign. A new sign needs a migration that adds its six columns. */
export const SIGN_COLUMNS: Readonly<Record<VitalSign, string>> = {
  heartRateValue: 'heart_rate',
  breathRateValue: 'breath_rate',
  breathValue: 'breath',
  pulseRateValue: 'pulse_rate',
  bloodPressureSystolic: 'blood_pressure_systolic',
  bloodPressureDiastolic: 'blood_pressure_diastolic',
  spo2Value: 'spo2',
  temperatureValue: 'temperature'
}

const PREFIXES = Object.values(SIGN_COLUMNS)

/** Suffixes of the columns of each vital sign. */
const FACTS = ['count', 'min', 'max', 'sum', 'first', 'last'] as const

export const BUCKET_COLUMNS = ['readings', ...PREFIXES.flatMap((prefix) => FACTS.map((fact) => `${prefix}_${fact}`))]

/** `readings, heart_rate_count, …` */
export const COLUMN_LIST = sql.raw(BUCKET_COLUMNS.join(', '))

/** `readings = excluded.readings, …` */
export const COLUMN_UPDATES = sql.raw(BUCKET_COLUMNS.map((column) => `${column} = excluded.${column}`).join(', '))

/**
 * The known vital signs of `vitals`, as columns named for them. Numbers stay `numeric`: its sums are exact in any
 * order, and it holds numbers that no double holds, such as 1e400.
 * @param isGuarded - leaves out values that are not numbers. Ingest accepts only numbers, so the guard is needed only
 *   for rows of other writers. It costs a tenth of the whole for each vital sign.
 */
export function signValues (isGuarded: boolean): RawBuilder<unknown> {
  return sql.raw(Object.entries(SIGN_COLUMNS).map(([sign, prefix]) => isGuarded
    ? `case when jsonb_typeof(vitals->'${sign}') = 'number' then (vitals->'${sign}')::numeric end as ${prefix}`
    : `(vitals->'${sign}')::numeric as ${prefix}`).join(', '))
}

const ofReadings = (count: string) => sql.raw([`${count}::integer`, ...PREFIXES.map((sign) => {
  const values = `array_agg(${sign}) filter (where ${sign} is not null)`
  return `count(${sign})::integer, min(${sign}), max(${sign}), sum(${sign}), (${values})[1], (${values})[count(${sign})]`
})].join(', '))

/** Aggregates of {@link signValues}, of rows that come ordered by time and hash: {@link BUCKET_COLUMNS}. */
export const SUMS_OF_READINGS = ofReadings('count(*)')

/**
 * The same for a query that groups rows which come ordered by group, time and hash. An aggregate with an order keeps
 * PostgreSQL from hashing, which loses the order of rows once it spills.
 */
export const GROUPED_SUMS_OF_READINGS = ofReadings('count(part order by time)')

/** Aggregates of smaller buckets that come ordered by group and time: {@link BUCKET_COLUMNS}. */
export const SUMS_OF_BUCKETS = sql.raw(['sum(readings order by time)::integer', ...PREFIXES.map((sign) => {
  const edge = (fact: string) => `array_agg(${sign}_${fact}) filter (where ${sign}_count > 0)`
  return `sum(${sign}_count)::integer, min(${sign}_min), max(${sign}_max), sum(${sign}_sum), ` +
    `(${edge('first')})[1], (${edge('last')})[count(*) filter (where ${sign}_count > 0)]`
})].join(', '))
