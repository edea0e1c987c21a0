import t from 'tap'
import { compareAverages } from '../../../../scripts/harness/checks/averages.ts'
import { createTestDatabase } from '../../../helpers/postgres.ts'

t.test('averages are compared with readings, except open and marked ones', async (t) => {
  const { query } = await createTestDatabase(t)
  await query('update rollup_state set closed_before = \'2025-01-01 01:00Z\'')
  await query(`insert into readings select 'a', timestamptz '2025-01-01Z' + s * interval '200 seconds', gen_random_uuid(),
    '{"heartRateValue": 60.5}', now() from generate_series(0, 19) s`)
  const signs = ['heart_rate', 'breath_rate', 'breath', 'pulse_rate', 'blood_pressure_systolic', 'blood_pressure_diastolic', 'spo2',
    'temperature'].map((sign) => `${sign}_count`)
  await query(`insert into rollups_5m (device, time, readings, heart_rate_sum, ${signs.join(', ')})
    select device, date_bin('5 minutes', time, 'epoch'), count(*), sum(60.5), count(*), 0, 0, 0, 0, 0, 0, 0 from readings
    where time < '2025-01-01 01:00Z' group by 1, 2`)
  const compare = () => compareAverages(query)
  t.same(await compare(), { buckets: 12, wrong: null })
  await query('insert into rollup_late values (\'a\', \'2025-01-01Z\')')
  t.same(await compare(), { buckets: 11, wrong: null })
  await query('update rollups_5m set heart_rate_sum = heart_rate_sum + 1 where time = \'2025-01-01Z\'')
  t.same(await compare(), { buckets: 11, wrong: null }, 'a marked average may be outdated')
  await query('update rollups_5m set heart_rate_sum = heart_rate_sum + 1 where time = \'2025-01-01 00:10Z\'')
  t.match(await compare(), { buckets: 11, wrong: /^1 of 11 buckets differ from their readings, such as a at 2025-01-01 00:10/ })
  await query('delete from rollups_5m')
  t.match(await compare(), { buckets: 11, wrong: /^11 of 11/ })
})
