/** Compares Flink's averages with closed roll-ups, and with the readings in every bucket. */
import type { Query } from '../../harness/checks/stored.ts'
import { until } from '../../harness/until.ts'

/** Flink reads again from its last checkpoint, on a busy machine. */
const COUNTED_TIMEOUT_MS = 600_000
const LOOK_INTERVAL_MS = 1000

export interface AveragesFindings {
  readonly buckets: number
  /** Of those, closed ones whose roll-up was compared as well. */
  readonly closed: number
  /** Records that Flink left out, with a reason. */
  readonly leftOut: number
  readonly wrong: readonly string[]
}

/** @returns how many readings Flink has counted or left out, and how many there are */
async function countCounted (query: Query): Promise<{ readonly counted: number, readonly stored: number, readonly leftOut: number }> {
  const [row] = await query<{ counted: string, left_out: string, stored: string }>(`
    select (select coalesce(sum(readings), 0) from flink.averages_5m) as counted,
      (select count(distinct id) from flink.left_out where reason <> 'unreadable') as left_out,
      (select count(*) from readings) as stored`)
  return { counted: Number(row!.counted), leftOut: Number(row!.left_out), stored: Number(row!.stored) }
}

export async function judgeFlink (query: Query): Promise<AveragesFindings> {
  const wrong: string[] = []
  let last = await countCounted(query)
  const tookMs = await until(async () => {
    last = await countCounted(query)
    return last.counted + last.leftOut >= last.stored
  }, COUNTED_TIMEOUT_MS, LOOK_INTERVAL_MS)
  if (tookMs === null) wrong.push(`Flink has counted ${last.counted} and left out ${last.leftOut} of ${last.stored} readings`)
  const columns = (await query<{ name: string }>(`
    select column_name as name from information_schema.columns where table_schema = 'flink' and table_name = 'averages_5m'
      and column_name not in ('device', 'bucket', 'time') order by ordinal_position`)).map(({ name }) => name)
  const rollups = await compareBuckets(query, `select device, time, ${columns.join(', ')} from rollups_5m`, columns, `
    time >= (select greatest(built_from, sealed_before) from rollup_state) and time < (select closed_before from rollup_state)
      and not exists (select from rollup_late late where late.device = coalesce(flink.device, other.device) and late.time = time)`)
  const readings = await compareBuckets(query, `
    select device, date_bin('5 minutes', time, 'epoch') as time, count(*) as readings,
      count(vitals->'heartRateValue') as heart_rate_count, sum((vitals->>'heartRateValue')::numeric) as heart_rate_sum,
      min((vitals->>'temperatureValue')::numeric) as temperature_min
    from readings group by 1, 2`, ['readings', 'heart_rate_count', 'heart_rate_sum', 'temperature_min'], 'true')
  if (rollups.wrong !== null) wrong.push(`roll-ups and Flink differ in ${rollups.wrong}`)
  if (readings.wrong !== null) wrong.push(`readings and Flink differ in ${readings.wrong}`)
  return { buckets: readings.buckets, closed: rollups.buckets, leftOut: last.leftOut, wrong }
}

/** @param other - rows of device, time and the columns @param condition - on `time` */
async function compareBuckets (
  query: Query, other: string, columns: readonly string[], condition: string
): Promise<{ readonly buckets: number, readonly wrong: string | null }> {
  const row = (table: string) => `(${columns.map((column) => `${table}.${column}`).join(', ')})`
  const [found] = await query<{ buckets: number, wrong: number, example: string | null }>(`
    with other as (${other}), compared as (
      select device, time, ${row('flink')} is distinct from ${row('other')} as is_wrong
      from flink.averages_5m flink full join other using (device, time) where ${condition}
    )
    select count(*)::int as buckets, count(*) filter (where is_wrong)::int as wrong,
      min(device || ' at ' || time) filter (where is_wrong) as example
    from compared`)
  const { buckets, wrong, example } = found!
  return { buckets, wrong: wrong === 0 ? null : `${wrong} of ${buckets} buckets, such as ${example}` }
}
