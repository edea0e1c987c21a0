import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import t from 'tap'
import { exactly } from '../../../helpers/exactly.ts'
import { createTestDir } from '../../../helpers/postgres.ts'
import { connectClient, startGateway } from '../../../helpers/gateway.ts'
import { runOperated, runOperatorScript, startOperated } from '../../../helpers/operator.ts'

interface Report {
  readonly findings: ReadonlyArray<{ subject: string, status: string, text: string }>
}

/** Every finding that is not ok. */
function toDifferences ({ stdout }: { stdout: string }) {
  return (JSON.parse(stdout) as Report).findings.filter(({ status }) => status !== 'ok')
}

t.test('a gateway balances, idle and under traffic', async (t) => {
  const { run, publish, httpUrl, mqttPort } = await startOperated(t, 'audit')
  await publish('vital/a', '{"timestamp":1}')
  await publish('vital/a', '{"timestamp":1}')
  await publish('vital/a', 'x')
  const idle = await run()
  t.equal(idle.status, 0)
  t.match(idle.stdout, /^http:\/\/127\.0\.0\.1:\d+ runs since 20/)
  t.match(idle.stdout,
    /^ok +ledger of http:\/\/127\.0\.0\.1:\d+ +received 3 = stored 1 \+ duplicate 1 \+ dead-lettered 1 \+ refused 0 \+ pending 0$/m)
  t.match(idle.stdout, /^ok +readings +1 rows, 1 counted as stored$/m)
  t.match(idle.stdout, /\nbalanced\n$/)

  const state = { isStopped: false }
  const clients = await Promise.all(Array.from({ length: 4 }, () => connectClient(t, mqttPort)))
  const publishing = clients.map(async (client, index) => {
    for (let n = 0; !state.isStopped; n++) {
      await client.publishAsync(`vital/d${index}`, n % 5 === 0
        ? 'bad'
        : `{"timestamp":${n}}`, { qos: 1 })
    }
  })
  for (let round = 0; round < 10; round++) {
    const report = await run('--json', '--url', `${httpUrl}/`)
    t.same(toDifferences(report), [])
    await sleep(20)
  }
  state.isStopped = true
  await Promise.all(publishing)
})

t.test('unexplained differences are found, explained ones are named with their reason', async (t) => {
  const { run, publish, query, connectionString } = await startOperated(t, 'audit')
  for (let n = 0; n < 5; n++) await publish('vital/a', `{"timestamp":${n}}`)
  for (let n = 0; n < 3; n++) await publish('vital/a', 'x')
  t.match(await run(), { status: 0, stdout: /balanced/ })

  await runOperated('dead-letters', ['discard', '--all', '--yes'], { DATABASE_URL: connectionString })
  // The statistics of PostgreSQL are delayed.
  while ((await query('select from pg_stat_user_tables where relname = \'dead_letters\' and n_tup_del = 3')).length === 0) await sleep(20)
  const discarded = await run('--json')
  t.equal(discarded.status, 0)
  t.match(toDifferences(discarded), exactly({
    subject: 'dead letters',
    status: 'explained',
    text: '0 rows, 3 counted as dead-lettered: 3 fewer. PostgreSQL counts 3 deleted: discarded, or replayed.'
  }))

  await query('insert into readings select device, time + interval \'1 year\', hash, vitals, now() from readings')
  const surplus = await run('--json')
  t.equal(surplus.status, 1)
  t.match(toDifferences(surplus)[0], {
    subject: 'readings', status: 'wrong', text: /^10 rows, 5 counted as stored: 5 more\. Look for a gateway on this database/
  })
  t.match(toDifferences(surplus).at(-1), { subject: 'averages', status: 'wrong', text: /run vital-gateway rollups rebuild/ })
  const rebuild = () => runOperated('rollups', ['rebuild', '--json'], { DATABASE_URL: connectionString })
  t.match(JSON.parse((await rebuild()).stdout), { buckets: 2 })

  const other = new pg.Client({ connectionString: `${connectionString}?application_name=vital-gateway%20elsewhere:1` })
  await other.connect()
  const shared = await run('--json')
  await other.end()
  t.equal(shared.status, 0)
  t.match(toDifferences(shared)[0], { subject: 'readings', status: 'explained', text: /1 more gateway writes to this database/ })

  // As with a failing disk or an older backup: rows are gone, and nothing has counted their deletion.
  await query('truncate readings')
  await rebuild()
  const lost = await run()
  t.equal(lost.status, 1)
  t.match(lost.stdout, /^wrong +readings +0 rows, 5 counted as stored: 5 fewer\. Look for months dropped/m)
  t.match(lost.stdout, /\n1 without an explanation\n$/)

  await publish('vital/b', '{"timestamp":1}')
  await query('delete from latest')
  t.match(toDifferences(await run('--json')).at(-1), {
    subject: 'latest', status: 'wrong', text: /^1 devices have readings and no latest state/
  })
})

t.test('retention, and the rows of an earlier run', async (t) => {
  const { run, publish, connectionString, dir, stop } = await startOperated(t, 'audit')
  await publish('vital/a', '{"timestamp":1}')
  await stop()
  const later = await startGateway(t, { DATABASE_URL: connectionString, VITAL_DATA_DIR: dir, VITAL_RETENTION_DAYS: '30' })
  const audit = () => runOperated('audit', ['--url', later.httpUrl, '--json'], { DATABASE_URL: connectionString })
  t.match(await audit(), { status: 0 })
  t.same(toDifferences(await audit()), [], 'readings received before the start are left out')
  const client = await connectClient(t, later.mqttPort)
  for (const timestamp of [1, 2, 3, Math.floor(Date.now() / 1000)]) {
    await client.publishAsync('vital/b', `{"timestamp":${timestamp}}`,
      { qos: 1 })
  }
  while (!/^vital_retention_removed_readings_total 4$/m.test(await (await fetch(`${later.httpUrl}/metrics`)).text())) await sleep(50)
  const removed = await audit()
  t.equal(removed.status, 0)
  t.match(toDifferences(removed), exactly({
    subject: 'readings', status: 'explained', text: /^1 rows, 4 counted as stored: 3 fewer\. retention removed about 4 since the start/
  }))
  t.match(await run(), { status: 1, stderr: /cannot be read: ECONNREFUSED\.\nIs the gateway running\?/ }, 'the gateway that was stopped')
})

t.test('as a process, and wrong usage', async (t) => {
  const { connectionString, httpPort, run } = await startOperated(t, 'audit')
  const whole = await runOperatorScript(t, 'audit', [], {
    DATABASE_URL: connectionString, VITAL_HTTP_PORT: String(httpPort)
  }, await createTestDir(t))
  t.match(whole, { status: 0, stdout: /\nbalanced\n$/, stderr: '' })
  t.match(await run('--help'), { status: 0, stdout: /vital-gateway audit/ })
  t.match(await run('--fast'), { status: 2, stderr: /unknown option '--fast'/ })
  t.match(await run('--url', 'localhost'), { status: 2, stderr: /--url must look like/ })
  t.match(await run('--url', `http://127.0.0.1:${httpPort}/docs`), { status: 1, stderr: /metrics cannot be read: it answers 404/ })
})
