/** 2xx does not mean stored: readings that the database drops or does not apply are warned of. */
import t from 'tap'
import { exactly } from '../helpers/exactly.ts'
import { isOnKafkaNode } from '../helpers/kafka.ts'
import { createTestDatabase } from '../helpers/postgres.ts'
import { NO_QUESTDB, NO_VICTORIAMETRICS, startQuestDb, startVictoriaMetrics } from '../helpers/time-series.ts'
import { until } from '../helpers/until.ts'
import { createSinkRig, toRow, toRows } from '../sink/rig.ts'
import { isExported, startExport, toVariables } from './rig.ts'

if (await isOnKafkaNode(t, import.meta.filename)) {
  const rig = await createSinkRig(t)

  t.test('VictoriaMetrics drops readings older than its retention, and counts twice without deduplication', {
    skip: NO_VICTORIAMETRICS, timeout: 120_000
  }, async (t) => {
    await rig.makeAnew(1)
    const database = await startVictoriaMetrics(t, ['-retentionPeriod=1'])
    const { connectionString, query } = await createTestDatabase(t)
    const exported = await startExport(t, toVariables(rig, database, connectionString), { inspectMs: 100 })
    await until(async () => await exported.isReady() && (await exported.warnings()).length === 1)
    t.match(await exported.warnings(), exactly(/-dedup\.minScrapeInterval=1ms$/))
    await rig.writeReadings([...toRows(10), toRow('now', Math.floor(Date.now() / 1000), { heartRateValue: 60 })])
    await until(async () => await isExported(rig, query))
    await until(async () => await exported.metric('vital_export_ignored_total') === 10)
    t.ok((await exported.warnings()).some((warning) => /dropped values that it had taken: 10 small_timestamp$/.test(warning)))
    t.equal(await database.count(), 1)
  })

  t.test('a suspended table of QuestDB: readings that it took wait there, the ' +
    'rest in Kafka', { skip: NO_QUESTDB, timeout: 120_000 }, async (t) => {
    await rig.makeAnew(1)
    const database = await startQuestDb(t)
    const { connectionString, query } = await createTestDatabase(t)
    const exported = await startExport(t, toVariables(rig, database, connectionString), { inspectMs: 100, retryMsMax: 500 })
    await rig.writeReadings(toRows(10))
    await until(async () => await isExported(rig, query))
    await until(async () => await database.count() === 10)
    await database.query('alter table vital suspend wal')
    await until(async () => (await exported.warnings()).some((warning) => /table vital is suspended/.test(warning)))
    await rig.writeReadings(toRows(10, { from: 100 }))
    await until(async () => await exported.metric('vital_export_up') === 0)
    t.equal(await exported.metric('vital_export_lag_records'), 10)
    await database.query('alter table vital resume wal')
    await until(async () => await database.count() === 20)
    await until(async () => (await exported.warnings()).length === 0)

    // A table that another writer makes has no deduplication keys.
    await database.query('drop table vital')
    await database.query('create table vital (timestamp timestamp_ns, device symbol) timestamp(timestamp) partition by day wal')
    await until(async () => (await exported.warnings()).some((warning) => /keeps what is written twice: ALTER TABLE/.test(warning)))
  })

  t.test('a field of another type in QuestDB: that reading alone becomes a ' +
    'dead letter', { skip: NO_QUESTDB, timeout: 120_000 }, async (t) => {
    await rig.makeAnew(1)
    const database = await startQuestDb(t)
    const { connectionString, query } = await createTestDatabase(t)
    await rig.writeReadings([
      toRow('d', 1, { level: 88 }), toRow('d', 2, { level: 'high', heartRateValue: 60 }), ...toRows(50), toRow('d', 3, { level: 89 }),
      toRow('d', 4, { 'a.b-c': 1, note: 'x\ny' })
    ])
    await startExport(t, toVariables(rig, database, connectionString))
    await until(async () => await isExported(rig, query))
    await until(async () => await database.count() === 50)
    t.same([await database.count('level'), await database.count('a_2e_b_2d_c')], [2, 1])
    t.same(await database.query('select note from vital where note is not null'), [['x\ny']])
    t.match(await query('select device, reason from dead_letters'), exactly({ device: 'd', reason: 'database_rejected' }))
  })
}
