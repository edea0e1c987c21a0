import { type Kysely, sql } from 'kysely'
import type { BinaryWriter } from '../write/binary.ts'
import type { LatestRow } from '../write/fold-latest.ts'
import { STORED_BYTES_MAX } from '../migrations/004-merge-fields.ts'
import { RETURNING_COPIED } from './copied-rows.ts'
import { type Step, toStatement } from '../write/pipeline.ts'
import type { Tables } from '../tables.ts'
import { type Column, unnest, withRows } from '../write/unnest.ts'

/** The whole batch is newer than the row, and the row is within its bound. */
const IS_PLAIN = sql`excluded.oldest_time > l.time
  and pg_column_size(l.vitals) + pg_column_size(l.vital_times) <= ${sql.lit(STORED_BYTES_MAX)}`

const COLUMNS: ReadonlyArray<Column<LatestRow>> = [
  { type: 'text', write: (writer, row) => writer.text(row.device) },
  { type: 'timestamptz', write: (writer, row) => writer.timestamptz(row.timeUs) },
  { type: 'timestamptz', write: (writer, row) => writer.timestamptz(row.oldestTimeUs) },
  { type: 'jsonb', write: (writer, row) => writer.jsonb(row.vitals) },
  { type: 'jsonb', write: (writer, row) => writer.jsonb(row.vitalTimes) },
  { type: 'float8', write: (writer, row) => writeRate(writer, row.heartRate) },
  { type: 'float8', write: (writer, row) => writeRate(writer, row.breathRate) }
]

const HEART_RATE_TIME = sql`(l.vital_times->'heartRateValue')::float8`
const NEW_HEART_RATE_TIME = sql`(excluded.vital_times->'heartRateValue')::float8`

/**
 * Merges one batch into `latest`, field by field: the newest value of each field wins, of two at the same time the
 * larger one, whatever order batches arrive in and however often. `||` where the whole batch is newer than the row (38
 * ms for 5,000 rows), otherwise a merge key by key.
 * @param isCopied - the rows are returned as `copied-rows.ts` describes
 * @returns takes rows, one a device, sorted by device
 */
export function upsertLatest (kysely: Kysely<Tables>, isCopied = false): (rows: readonly LatestRow[]) => Step {
  const statement = toStatement(sql`
    insert into latest as l (device, time, oldest_time, vitals, vital_times, heart_rate, breath_rate)
    select * from ${unnest(COLUMNS)}
    on conflict (device) do update set
      time = greatest(l.time, excluded.time),
      oldest_time = least(l.oldest_time, excluded.oldest_time),
      vitals = case when ${IS_PLAIN} then l.vitals || excluded.vitals
        else vital_merge_fields(l.vitals, l.vital_times, excluded.vitals, excluded.vital_times, false) end,
      vital_times = case when ${IS_PLAIN} then l.vital_times || excluded.vital_times
        else vital_merge_fields(l.vitals, l.vital_times, excluded.vitals, excluded.vital_times, true) end,
      heart_rate = case
        when excluded.heart_rate is null then l.heart_rate
        when excluded.oldest_time > l.time then excluded.heart_rate
        when ${NEW_HEART_RATE_TIME} = ${HEART_RATE_TIME} then greatest(l.heart_rate, excluded.heart_rate)
        when ${NEW_HEART_RATE_TIME} > coalesce(${HEART_RATE_TIME}, '-Infinity') then excluded.heart_rate
        else l.heart_rate end,
      breath_rate = case
        when excluded.breath_rate is null then l.breath_rate
        when excluded.oldest_time > l.time then excluded.breath_rate
        else vital_breath_rate(l.vitals, l.vital_times, excluded.vitals, excluded.vital_times) end
    ${isCopied ? RETURNING_COPIED : sql``}
  `.compile(kysely).sql)
  return (rows) => withRows(statement, COLUMNS, rows, 400)
}

function writeRate (writer: BinaryWriter, rate: number | null): void {
  if (rate === null) writer.null()
  else writer.float8(rate)
}
