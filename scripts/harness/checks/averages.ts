/**
 * C8 of the fault matrix: compares averages with the readings, without the gateway's own statements. In each bucket of
 * five minutes that is closed and not marked: the number of readings, and the count and sum of one vital sign.
 */
import type { Query, Violation } from './stored.ts'

/** @returns what is wrong, and of how many buckets */
export async function compareAverages (query: Query): Promise<{ readonly buckets: number, readonly wrong: string | null }> {
  const [row] = await query<{ buckets: number, wrong: number, example: string | null }>(`
    with computed as (
      select device, date_bin('5 minutes', time, 'epoch') as time, count(*) as readings,
        count(vitals->'heartRateValue') as count, sum((vitals->>'heartRateValue')::numeric) as sum
      from readings, rollup_state where time >= greatest(built_from, sealed_before) and time < closed_before group by 1, 2
    ), stored as (
      select device, time, readings, heart_rate_count as count, heart_rate_sum as sum
      from rollups_5m, rollup_state where time >= greatest(built_from, sealed_before) and time < closed_before
    ), joined as (
      select device, time, (computed.readings, computed.count, computed.sum) is distinct from
        (stored.readings, stored.count, stored.sum) as is_wrong
      from computed full join stored using (device, time)
    ), compared as (
      select * from joined where not exists (
        select from rollup_late late where late.device = joined.device and late.time = joined.time)
    )
    select count(*)::int as buckets, count(*) filter (where is_wrong)::int as wrong,
      min(device || ' at ' || time) filter (where is_wrong) as example
    from compared`)
  const { buckets, wrong, example } = row!
  return { buckets, wrong: wrong === 0 ? null : `${wrong} of ${buckets} buckets differ from their readings, such as ${example}` }
}

/** @returns how many buckets were compared */
export async function judgeAverages (
  query: Query, violate: (checker: Violation['checker'], message: string) => void
): Promise<number> {
  const { buckets, wrong } = await compareAverages(query)
  if (wrong !== null) violate('C8', wrong)
  return buckets
}
