import { chown, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createDatabaseSwitch } from '../../helpers/database-switch.ts'
import { exactly } from '../../helpers/exactly.ts'
import { connectClient, readLedger, startGateway } from '../../helpers/gateway.ts'
import { createTestDir } from '../../helpers/postgres.ts'
import { runOperated, runOperatorScript } from '../../helpers/operator.ts'

async function open (t: Test) {
  const database = await createDatabaseSwitch(t)
  const dataDir = await createTestDir(t)
  const variables = { DATABASE_URL: database.connectionString, VITAL_DATA_DIR: dataDir }
  const start = async () => {
    const gateway = await startGateway(t, variables)
    const run = (...args: string[]) => runOperated('erase', args, { ...variables, VITAL_HTTP_PORT: String(gateway.httpPort) })
    return { ...gateway, run }
  }
  return { database, dataDir, variables, start, run: (...args: string[]) => runOperated('erase', args, variables) }
}

async function publish (t: Test, port: number, count: number): Promise<void> {
  const client = await connectClient(t, port)
  await Promise.all(Array.from({ length: count }, (_, n) => ['a', 'b', 'c'].map((device) =>
    client.publishAsync(`vital/${device}`, `{"timestamp":${n}}`, { qos: 1 }))).flat())
  await client.endAsync()
}

const COUNT = 'select device, count(*)::int as n from readings group by 1 order by 1'

t.test('while the gateway runs', async (t) => {
  const { database, start } = await open(t)
  const { run, mqttPort } = await start()
  await publish(t, mqttPort, 10)
  t.match(await run('--device', 'a'), {
    status: 1,
    stdout: 'a: 10 readings from 1970-01-01T00:00:00.000Z to 1970-01-01T00:00:09.000Z, 0 dead letters in PostgreSQL. ' +
      'Nothing was erased: add --yes'
  })
  t.match(await run('--device', 'nobody'), { status: 1, stdout: 'nobody: 0 readings, 0 dead letters' })
  const erased = await run('--device', 'a', '--yes')
  t.match(erased, { status: 0, stderr: '' })
  t.match(erased.stdout, new RegExp(`^${[
    'erased a', 'readings +10 +those that waited in the spool included', 'latest state +1', 'dead letters +0',
    'retained +0 +messages', 'queued +0 +'
  ].join('\n')}`))
  t.same(await database.query(COUNT), [{ device: 'b', n: 10 }, { device: 'c', n: 10 }])
  t.match(JSON.parse((await run('--device', 'b', '--yes', '--json')).stdout),
    { deviceId: 'b', readings: 10, gateways: exactly({ state: 'confirmed' }) })
  await database.off()
  t.match(await run('--device', 'c', '--yes'), { status: 1, stdout: '', stderr: /did not erase c: .*\nIt is safe to run this again\.\n$/ })
  await database.on()
  t.same(await database.query(COUNT), [{ device: 'c', n: 10 }])
})

t.test('while the gateway is stopped: its spool is written to PostgreSQL without the readings of the device', async (t) => {
  const { database, start, run } = await open(t)
  const gateway = await start()
  await publish(t, gateway.mqttPort, 5)
  await database.off()
  await publish(t, gateway.mqttPort, 500)
  await gateway.stop()
  const away = await run('--device', 'a', '--yes')
  t.match(away, {
    status: 1, stdout: '', stderr: /^no gateway runs on .*: erasing in its place\nvital-gateway erase: PostgreSQL of DATABASE_URL: /
  })
  await database.on()
  t.same(await database.query(COUNT), ['a', 'b', 'c'].map((device) => ({ device, n: 5 })), 'while PostgreSQL is away nothing is changed')
  t.same(await database.query('select from audit_log'), [])

  t.match(await run('--device', 'a', '--yes'), { status: 0, stdout: /^readings +500 /m })
  t.same(await database.query(COUNT), ['b', 'c'].map((device) => ({ device, n: 500 })))
  t.match(await database.query('select actor, act from audit_log order by id'),
    exactly({ actor: /^cli:/, act: 'erase.begin' }, { actor: /^cli:.+@/, act: 'erase' }))
  const again = await start()
  t.match(await readLedger(again.httpUrl), { received: 0, pending: 0 }, 'the spool is empty')
  t.same(await database.query(COUNT), ['b', 'c'].map((device) => ({ device, n: 500 })))
})

t.test('other gateways on the database confirm an erasure', async (t) => {
  const { database, variables, start } = await open(t)
  const { run, mqttPort, httpUrl } = await start()
  await publish(t, mqttPort, 1)
  const other = await startGateway(t, { ...variables, VITAL_DATA_DIR: await createTestDir(t) })
  const names = await database.query('select distinct application_name as name from pg_stat_activity where datname = ' +
    'current_database() and application_name ~ \':\'')
  t.equal(names.length, 2, 'both have the same host and process id, as two containers may')
  t.match(await run('--device', 'a', '--yes'),
    { status: 0, stdout: /^erased a[^]*\nconfirmed by +vital-gateway .*\nconfirmed by +vital-gateway .*\n/ })
  await other.stop()
  t.match(await run('--device', 'c', '--yes'), { status: 0 }, 'a gateway that stopped with an empty spool is not waited for')
  t.match(await run('--device', 'b', '--yes', '--url', httpUrl), { status: 0, stdout: /^readings +1 /m, stderr: '' })
})

t.test('several devices are erased by one command', async (t) => {
  const { database, start } = await open(t)
  const { run, mqttPort } = await start()
  await publish(t, mqttPort, 10)
  t.match(await run('--device', 'a', '--device', 'b'), { status: 1, stdout: /^a: 10 readings[^]*\nb: 10 readings/ })
  t.match(await run('--device', 'a', '--device', 'b', '--yes'), { status: 0, stdout: /^erased a\n[^]*\nerased b\n/ })
  t.same(await database.query(COUNT), [{ device: 'c', n: 10 }])
  t.match(JSON.parse((await run('--device', 'c', '--device', 'd', '--yes', '--json')).stdout),
    exactly({ deviceId: 'c', readings: 10 }, { deviceId: 'd', readings: 0 }))
})

t.test('an error message names its cause', async (t) => {
  const { dataDir, variables, run } = await open(t)
  t.match(await run(), { status: 2, stderr: /required option '--device <id>' not specified/ })
  t.match(await run('--device', 'a', '--ca', 'x', '--ca', 'y', '--yes'), { status: 2, stderr: /--ca is given twice, and takes one value/ })
  t.match(await run('--device', 'a/b'), { status: 2, stderr: /^vital-gateway erase: "a\/b" cannot be a device/ })
  t.match(await run('--device', 'a', '--yes', '--url', 'ftp://x'), { status: 2, stderr: /^vital-gateway erase: --url must look like/ })
  t.match(await run('--device', 'a', '--yes', '--url', 'http://u:p@x'), {
    status: 2, stderr: /^vital-gateway erase: --url must hold no user and no password/
  })
  t.match(await run('--device', 'a', '--yes'), { status: 1, stderr: `there is no spool at ${join(dataDir, 'spool')}` })
  t.match(await run('--device', 'a', '--yes', '--url', 'http://127.0.0.1:1'), {
    status: 1, stderr: /cannot be reached, or went away: ECONNREFUSED/
  })
  if (process.getuid?.() === 0) {
    await mkdir(join(dataDir, 'spool'), { mode: 0o700 })
    await chown(join(dataDir, 'spool'), 12345, 12345)
    t.match(await run('--device', 'a', '--yes'), { status: 1, stderr: /belongs to user 12345: run this as that user/ })
  }
  t.match(await runOperatorScript(t, 'erase', ['--help'], variables, dataDir), {
    status: 0, stdout: /vital-gateway erase --device ward-3 --yes/
  })
})
