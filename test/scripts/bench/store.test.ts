import t from 'tap'
import { createBenchCommand } from '../../../scripts/bench/options.ts'
import { formatOutcomes } from '../../../scripts/bench/report/report.ts'
import type { Round } from '../../../scripts/bench/round.ts'
import { toSpooled } from '../../../scripts/bench/sides/targets.ts'
import { parseCommand } from '../../helpers/command-line.ts'

const parse = (args: readonly string[]) => parseCommand(createBenchCommand, args)
const names = async (args: readonly string[]) => (await parse(args))?.workloads.map(({ name }) => name)

t.test('--store spool compares with the database store, over workloads of its own', async (t) => {
  t.match(await parse([]), { store: 'database' })
  t.ok((await names([]))?.includes('idle'))
  const options = await parse(['--store', 'spool'])
  t.equal(options?.store, 'spool')
  t.same(await names(['--store', 'spool']), ['50x20', '500x20', 'arrays'])
  for (const workload of options?.workloads ?? []) t.match(workload, { reference: 'database', caveat: null })
  t.same(await names(['--store', 'spool', '--workload', 'http,7x3']), ['http', '7x3'])
})

t.test('workloads that cannot be compared with the spool are refused by name', async (t) => {
  for (const name of ['postgres', 'idle', 'qos0']) {
    await t.rejects(parse(['--store', 'spool', '--workload', `50x20,${name}`]), new RegExp(`workload "${name}"`))
  }
  await t.rejects(parse(['--store', 'tape']), /argument 'tape' is invalid/)
  await t.rejects(parse(['--store', 'spool', '--reference-only']), /--reference-only does not go with --store spool/)
})

t.test('the content of a spool is read from the metrics', (t) => {
  const metrics = (databaseUp: number, bytes: number) => [
    `vital_database_up ${databaseUp}`,
    `vital_spool_bytes ${bytes}`,
    'vital_spool_readings 7000',
    'vital_spool_replayed_readings_total 5',
    'vital_readings_pending 7001',
    'vital_readings_duplicate_total{transport="mqtt"} 1',
    'vital_readings_dead_lettered_total{transport="mqtt",reason="invalid_json"} 2',
    'vital_readings_refused_total{transport="mqtt",reason="unavailable"} 3',
    'vital_readings_refused_total{transport="http",reason="over_cap"} 4'
  ].join('\n')
  t.same(toSpooled(metrics(0, 500), 1000), { rows: 7000, replayed: 5, duplicates: 1, deadLettered: 2, refused: 7 })
  t.throws(() => toSpooled(metrics(0, 501), 1000), /holds 501 of 1000 bytes/, 'room for a round as large as all so far')
  t.throws(() => toSpooled(metrics(1, 0), 1000), /a PostgreSQL answers/)
  t.end()
})

t.test('the report puts spool over database, and PostgreSQL\'s CPU on the side that has one', async (t) => {
  const round = (target: string, rate: number, database: number): Round => ({
    target, metrics: { rate }, cpu: { server: 11, database }, peakRssBytes: null, otherCores: 0, replayed: 0, report: null
  })
  const [workload] = (await parse(['--store', 'spool']))?.workloads ?? []
  if (workload === undefined) throw new Error('no workload')
  const outcome = {
    workload,
    gateway: [round('spool store', 3000, 0), round('spool store', 4000, 0)],
    reference: [round('database store', 2000, 9), round('database store', 2000, 9)],
    mosquitto: [],
    referenceName: 'database store',
    stored: 123
  }
  const text = formatOutcomes([outcome], 'spool')
  t.match(text, /^spool \/ database +ratio +reference\n50x20 +1\.75 \(1\.50 - 2\.00\) +database store\n/)
  t.match(text, /\nabsolute +unit +spool +database\n/)
  t.match(text, /\n50x20 +11\.00 +9\.00 +11\.00 /)
  t.notMatch(text, /did not keep up/)
  const mixed = { ...outcome, reference: outcome.reference.map((round) => ({ ...round, replayed: 50 })) }
  t.match(formatOutcomes([mixed], 'spool'), /50x20, database store: .*the spool acknowledged 100 readings/)
  t.match(formatOutcomes([outcome], 'database'), /^gateway \/ reference/)
  t.end()
})
