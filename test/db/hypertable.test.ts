/**
 * `readings` as a hypertable of TimescaleDB, as far as possible without the extension: the script runs without the statements of
 * the extension, and a function stands for `drop_chunks`.
 */
import { readFile } from 'node:fs/promises'
import { pino } from 'pino'
import t from 'tap'
import { maintainPartitions } from '../../db/partitions.ts'
import { type Removed, removeExpired } from '../../db/retention.ts'
import { connectClient, readLedger, startGateway } from '../helpers/gateway.ts'
import { createTestDatabase } from '../helpers/postgres.ts'

const DAY_S = 86_400
const EXTENSION = /timescaledb|create_hypertable|add_compression_policy/
const DROP_CHUNKS = `create function drop_chunks(relation regclass, older_than timestamptz) returns setof text language plpgsql as $$
  begin
    execute format('delete from %s where time < %L', relation, older_than);
    return next '_timescaledb_internal._hyper_1_1_chunk';
  end $$`

/** Statements of the script, without comments. */
async function readScript (): Promise<string[]> {
  const text = await readFile(new URL('../../db/hypertable.sql', import.meta.url), 'utf8')
  return text.replaceAll(/^--.*$/gm, '').split(';').map((statement) => statement.trim()).filter((statement) => statement !== '')
}

t.test('a gateway works with readings in chunks: it makes no monthly partitions, and drops expired chunks', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const nowS = Math.floor(Date.now() / 1000)
  const before = await startGateway(t, { DATABASE_URL: connectionString })
  const send = async (port: number, device: string, timestamp: number) => {
    const client = await connectClient(t, port)
    await client.publishAsync(`vital/${device}`, JSON.stringify({ timestamp, heartRateValue: 70 }), { qos: 1 })
    await client.endAsync()
  }
  for (const age of [0, 1, 100]) await send(before.mqttPort, 'a', nowS - age * DAY_S)
  await before.stop()

  const script = await readScript()
  t.ok(script.some((statement) => EXTENSION.test(statement)), 'it makes a hypertable')
  await query(['begin', ...script.filter((statement) => !EXTENSION.test(statement)), 'commit'].join(';'))
  await query(DROP_CHUNKS)
  t.same(await query('select count(*)::int from readings'), [{ count: 3 }])

  const gateway = await startGateway(t, { DATABASE_URL: connectionString })
  await send(gateway.mqttPort, 'b', nowS)
  await send(gateway.mqttPort, 'a', nowS)
  t.match(await readLedger(gateway.httpUrl), { received: 2, stored: 1, balance: 0 }, 'a repeated reading is a duplicate')
  const { warnings } = await (await fetch(`${gateway.httpUrl}/health/ready`)).json() as { warnings: string[] }
  t.notOk(warnings.some((warning) => warning.includes('readings')), JSON.stringify(warnings))
  const history = await (await fetch(`${gateway.httpUrl}/vital-data/a/history?from=${nowS - 200 * DAY_S}&to=${nowS + 1}`)).json()
  t.match(JSON.stringify(history), /70/)

  const inAYear = new Date(Date.now() + 365 * DAY_S * 1000)
  const { created } = await maintainPartitions({ connectionString, now: inAYear, logger: pino({ level: 'silent' }) })
  t.ok(created.length > 0)
  t.notOk(created.some((partition) => partition.startsWith('readings')), 'only roll-ups have monthly partitions')
  const removed: Removed[] = []
  await removeExpired({
    connectionString,
    table: 'readings',
    days: 10,
    now: new Date(),
    logger: pino({ level: 'silent' }),
    isStopping: () => false,
    onRemoved: (step) => { removed.push(step) }
  })
  t.same(removed, [{ partitions: 1, rows: 0 }])
  const left = await query('select device, count(*)::int from readings group by 1 order by 1')
  t.same(left, [{ device: 'a', count: 2 }, { device: 'b', count: 1 }])
  await fetch(`${gateway.httpUrl}/vital-data/a`, { method: 'DELETE' })
  t.same(await query('select device from readings'), [{ device: 'b' }], 'a device is erased')
})
