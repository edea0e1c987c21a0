import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { judgeFlink } from '../../../../scripts/chaos/streams/flink-averages.ts'
import { prepareFlinkTables } from '../../../../scripts/harness/flink-job.ts'
import { exactly } from '../../../helpers/exactly.ts'
import { createTestDatabase } from '../../../helpers/postgres.ts'
import { ROOT } from '../../../helpers/program.ts'

const NO_PSQL = spawnSync('psql', ['--version']).status !== 0 && 'psql is not installed (apt-get install postgresql-client)'

t.test('averages of Flink are compared with complete roll-ups, and with the readings of every bucket', { skip: NO_PSQL }, async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  await prepareFlinkTables(join(ROOT, 'scripts/compose/flink'), connectionString)
  await query('update rollup_state set closed_before = \'2025-01-01 01:00Z\'')
  await query(`insert into readings select 'a', timestamptz '2025-01-01Z' + s * interval '200 seconds', gen_random_uuid(),
    '{"heartRateValue": 60.5}', now() from generate_series(0, 19) s`)
  const signs = ['heart_rate', 'breath_rate', 'breath', 'pulse_rate', 'blood_pressure_systolic', 'blood_pressure_diastolic', 'spo2',
    'temperature'].map((sign) => `${sign}_count`)
  const fill = (table: string, { time, value, where }: { time: string, value: string, where: string }) => query(`
    insert into ${table} (device, ${time}, readings, heart_rate_sum, heart_rate_min, heart_rate_max, ${signs.join(', ')})
    select device, ${value}, count(*), count(*) * 60.5, 60.5, 60.5, count(*), 0, 0, 0, 0, 0, 0, 0
    from (select device, date_bin('5 minutes', time, 'epoch') as bin from readings) binned where ${where} group by 1, bin`)
  await fill('rollups_5m', { time: 'time', value: 'bin', where: 'bin < \'2025-01-01 01:00Z\'' })
  await fill('flink.averages_5m', { time: 'bucket', value: 'extract(epoch from bin)::bigint', where: 'true' })
  const judge = () => judgeFlink(query)
  t.strictSame(await judge(), { buckets: 13, closed: 12, leftOut: 0, wrong: [] })
  await query('update rollups_5m set heart_rate_max = 61 where time = \'2025-01-01 00:10Z\'')
  t.match((await judge()).wrong, exactly(/^roll-ups and Flink differ in 1 of 12 buckets, such as a at 2025-01-01 00:10/))
  await query(`update flink.averages_5m set readings = readings + 1, heart_rate_sum = 0
    where bucket = extract(epoch from timestamptz '2025-01-01 01:00Z')`)
  t.match((await judge()).wrong, exactly(/^roll-ups/, /^readings and Flink differ in 1 of 13 buckets, such as a at 2025-01-01 01:00/))
})
