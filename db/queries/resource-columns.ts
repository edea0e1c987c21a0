import { type ExpressionBuilder, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/**
 * A row of `latest` as a resource. Times leave as float8, which holds microseconds exactly until the year 2255; a `Date`
 * would cut them to milliseconds.
 */
export function resourceColumns (latest: ExpressionBuilder<Tables, 'latest'>) {
  return [
    'device as deviceId',
    sql<number>`extract(epoch from ${latest.ref('time')})::float8`.as('timestamp'),
    'heart_rate as heartRate',
    'breath_rate as breathRate',
    'vitals',
    'vital_times as vitalTimestamps'
  ] as const
}
