import t from 'tap'
import { checkExport } from '../../../../scripts/operate/doctor/export.ts'
import { createConfig } from '../../../../src/config/config.ts'
import { freePort } from '../../../helpers/free-port.ts'
import {
  NO_INFLUXDB, NO_QUESTDB, NO_VICTORIAMETRICS, startInfluxDb, startQuestDb, startVictoriaMetrics
} from '../../../helpers/time-series.ts'

const check = (variables: Record<string, string>) => checkExport(createConfig(variables))

t.test('the doctor asks the time-series database', { skip: NO_INFLUXDB }, async (t) => {
  t.same(await check({}), [])
  const { variables, command } = await startInfluxDb(t)
  t.match(await check(variables), [
    { check: 'export', status: 'ok', text: /^InfluxDB 1\.\d+\.\d+\S* of VITAL_EXPORT_URL answers in .* ms$/ },
    { check: 'export TLS', status: 'ok' }
  ])
  await command('drop database vital')
  t.match(await check(variables), [{ status: 'FAIL', text: /: it answers 404: database not found: "vital"$/ }])
  t.match(await check({ VITAL_EXPORT_URL: `http://127.0.0.1:${await freePort()}` }), [
    { status: 'FAIL', text: /ECONNREFUSED/, advice: /^start it/ }
  ])
})

t.test('a setting that weakens an export is a warning', { skip: NO_VICTORIAMETRICS }, async (t) => {
  const { variables } = await startVictoriaMetrics(t, [])
  t.match(await check(variables), [
    { status: 'ok', text: /^VictoriaMetrics/ }, { status: 'ok' }, { status: 'warn', text: /-dedup\.minScrapeInterval=1ms$/ }
  ])
})

t.test('a missing table is not a fault, and is not created', { skip: NO_QUESTDB }, async (t) => {
  const { variables, query } = await startQuestDb(t)
  t.match(await check(variables), [{ status: 'ok', text: /^QuestDB 9\.\d+/ }, { status: 'ok' }])
  t.same(await query('select table_name from tables()'), [])
  await query('create table vital (timestamp timestamp_ns, device symbol) timestamp(timestamp) partition by day wal')
  t.match(await check(variables), [{ status: 'ok' }, { status: 'ok' }, { status: 'FAIL', text: /keeps what is written twice/ }])
})
