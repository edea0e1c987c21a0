/** A gateway with a primary and a streaming replica of Debian's PostgreSQL. */
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { holdReadings } from '../../../scripts/chaos/cluster/hold-readings.ts'
import { freeze } from '../../../scripts/harness/own-postgres.ts'
import { formatPosition, parsePosition } from '../../../src/reads/replicas/position.ts'
import { Replica } from '../../../src/reads/replicas/replica.ts'
import { startGateway, type TestGateway } from '../../helpers/gateway.ts'
import { createTestDatabase, NOT_POOLED } from '../../helpers/postgres.ts'
import { NO_REPLICATION, startReplication } from '../../helpers/replication.ts'
import { until } from '../../helpers/until.ts'

const SKIP = { skip: NO_REPLICATION }

async function post ({ httpUrl }: TestGateway, timestamp: number, heartRateValue: number): Promise<string | null> {
  const response = await fetch(`${httpUrl}/vital-data`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ device: 'bed-1', timestamp, heartRateValue })
  })
  if (response.status !== 202) throw new Error(`${response.status}`)
  return response.headers.get('vital-position')
}

async function heartRate ({ httpUrl }: TestGateway, position: string | null = null): Promise<number> {
  const headers: Record<string, string> = position === null ? {} : { 'vital-position': position }
  const response = await fetch(`${httpUrl}/vital-data/bed-1`, { headers })
  return (await response.json() as { heartRate: number }).heartRate
}

async function metric ({ httpUrl }: TestGateway, name: string): Promise<number> {
  const text = await (await fetch(`${httpUrl}/metrics`)).text()
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${name} `))
  return Number(line?.slice(name.length + 1))
}

const countsOf = async (gateway: TestGateway) => ({
  replica: await metric(gateway, 'vital_replica_reads_total'),
  unreached: await metric(gateway, 'vital_replica_fallbacks_total{reason="unreached"}'),
  stale: await metric(gateway, 'vital_replica_fallbacks_total{reason="stale"}'),
  failed: await metric(gateway, 'vital_replica_fallbacks_total{reason="failed"}')
})

const warningsOf = async ({ httpUrl }: TestGateway) =>
  (await (await fetch(`${httpUrl}/health/ready`)).json() as { warnings: string[] }).warnings.join('\n')

/** Whether the replica answers a read. */
async function isReadThere (gateway: TestGateway): Promise<boolean> {
  const before = await countsOf(gateway)
  await heartRate(gateway)
  return (await countsOf(gateway)).replica > before.replica
}

async function start (t: Test) {
  const { primary, replica } = await startReplication(t)
  const gateway = await startGateway(t, { DATABASE_URL: primary.url, DATABASE_READ_URL: replica.url })
  await post(gateway, 1, 60)
  await until(() => isReadThere(gateway), 'reads to go to the replica')
  return { primary, replica, gateway }
}

t.test('positions are written as in PostgreSQL', (t) => {
  for (const text of ['1:0/0', '1:0/1A2B3C4', '12:FF/FFFFFFFF', '3:12345/0']) t.equal(formatPosition(parsePosition(text)!), text)
  for (const text of ['', '0/1A2B3C4', '1:0', '1:0/', '1:x/1', '1:0/123456789', '-1:0/1', '1:0/1, 1:0/2', ' 1:0/1', '99999999999:0/1']) {
    t.equal(parsePosition(text), null, text)
  }
  t.end()
})

t.test('reads go to the replica, and a position shows the reading that was just stored', SKIP, async (t) => {
  const { primary, replica, gateway } = await start(t)
  for (let round = 1; round <= 30; round++) {
    const position = await post(gateway, 1000 + round, 60 + round)
    t.equal(await heartRate(gateway, position), 60 + round)
  }
  const counts = await countsOf(gateway)
  t.ok(counts.replica > 15, `of 30 reads with a position the replica answered most: ${JSON.stringify(counts)}`)
  for (const path of ['vital-data?sortBy=deviceId', 'vital-data/bed-1/history', 'vital-data/bed-1/history?every=5m&from=0']) {
    const before = (await countsOf(gateway)).replica
    t.equal((await fetch(`${gateway.httpUrl}/${path}`)).status, 200)
    t.ok((await countsOf(gateway)).replica > before, `${path} at the replica`)
  }
  const other = await startGateway(t, { DATABASE_URL: primary.url, DATABASE_READ_URL: replica.url })
  await until(() => isReadThere(other), 'reads at the replica')
  await until(async () => {
    const before = await countsOf(other)
    const page = await (await fetch(`${other.httpUrl}/vital-data?sortBy=heartRate`)).json() as { total: number }
    const after = await countsOf(other)
    return page.total === 1 && after.replica > before.replica && after.failed === 0
  }, 'pages that PostgreSQL sorts, as there is a second gateway, at the replica')
  await other.stop()
  t.match(await warningsOf(gateway), /promoting one can lose readings that were acknowledged/)
  await primary.query('alter system set synchronous_standby_names = \'*\'')
  await primary.query('select pg_reload_conf()')
  await until(async () => !(await warningsOf(gateway)).includes('promoting'), 'the warning ends')

  await replica.query('select pg_wal_replay_pause()')
  const position = await post(gateway, 5000, 99)
  t.equal(await heartRate(gateway, position), 99, 'the primary answers while replay is paused')
  t.equal((await countsOf(gateway)).unreached > 0, true)
  await until(async () => await heartRate(gateway) === 99, 'also without a position, once the replica is too old', 15_000)
  t.match(await warningsOf(gateway), /replica 127\.0\.0\.1:\d+ is more than 5 s behind: the primary answers its reads/)
  t.equal(await metric(gateway, `vital_replica_age_seconds{replica="${new URL(replica.url).host}"}`) > 5, true)
  await replica.query('select pg_wal_replay_resume()')
  await until(() => isReadThere(gateway), 'reads at the replica again')
  await until(async () => !(await warningsOf(gateway)).includes('behind'), 'the warning ends')
})

t.test('a position of another timeline, or an invalid one, is read at the primary at once', SKIP, async (t) => {
  const { gateway } = await start(t)
  const position = await post(gateway, 7000, 77)
  t.match(position, /^1:0\/[0-9A-F]+$/)
  for (const other of [position!.replace('1:', '2:'), 'nonsense', '']) {
    const before = await countsOf(gateway)
    t.equal(await heartRate(gateway, other), 77)
    t.equal((await countsOf(gateway)).unreached, before.unreached + 1, other)
  }
})

t.test('a replica that stops, and a server that is not a replica: the primary answers, and readiness says so', SKIP, async (t) => {
  const { primary, replica, gateway } = await start(t)
  await replica.stop()
  for (let read = 0; read < 20; read++) t.equal(await heartRate(gateway), 60)
  await until(async () => (await warningsOf(gateway)).includes('does not answer'), 'the warning')
  t.equal((await fetch(`${gateway.httpUrl}/health/ready`)).status, 200)
  await gateway.stop()
  const twice = await startGateway(t, { DATABASE_URL: primary.url, DATABASE_READ_URL: primary.url })
  await until(async () => (await warningsOf(twice)).includes('is not a replica'), 'the warning')
  t.equal(await heartRate(twice, await post(twice, 9000, 90)), 90)
  t.equal((await countsOf(twice)).replica, 0)
})

t.test('the primary away: the replica answers reads', SKIP, async (t) => {
  const { primary, gateway } = await start(t)
  await until(async () => await heartRate(gateway) === 60)
  await sleep(1000)
  await primary.stop()
  for (let read = 0; read < 10; read++) t.equal(await heartRate(gateway), 60)
})

t.test('a reading that waits in the spool is acknowledged without a position: no read would find it', SKIP, async (t) => {
  const { primary, gateway } = await start(t)
  const release = await holdReadings(primary.url)
  t.teardown(release)
  t.equal(await post(gateway, 2, 61), null)
  t.equal(await heartRate(gateway), 60)
  await release()
  let timestamp = 3
  const found = { position: null as string | null }
  await until(async () => (found.position = await post(gateway, timestamp++, 70)) !== null, 'readings are stored at once again')
  t.equal(await heartRate(gateway, found.position), 70)
})

t.test('a replica that hangs does not hold a read that sends a position', SKIP, async (t) => {
  const { replica, gateway } = await start(t)
  const thaw = freeze(replica.dir)
  t.teardown(thaw)
  const position = await post(gateway, 2, 61)
  const askedAtMs = performance.now()
  t.equal(await heartRate(gateway, position), 61)
  t.ok(performance.now() - askedAtMs < 2000, 'far less than the time-out of a query')
})

t.test('how far a replica is counts no longer once a connection to it is lost', { skip: NOT_POOLED }, async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const replica = new Replica({ connectionString, poolSize: 2, logger: pino({ level: 'silent' }) })
  t.teardown(() => replica.close())
  await replica.ask()
  t.not(replica.state, null)
  await query('select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()')
  await until(() => replica.state === null, 'it is not known how far it is')
})

t.test('the primary away for this gateway alone: the replica ages, and readiness says so', SKIP, async (t) => {
  const { primary, replica } = await startReplication(t)
  await primary.query('create role gateway superuser login')
  const url = Object.assign(new URL(primary.url), { username: 'gateway' }).href
  const gateway = await startGateway(t, { DATABASE_URL: url, DATABASE_READ_URL: replica.url })
  await post(gateway, 1, 60)
  await until(() => isReadThere(gateway), 'reads to go to the replica')
  await until(async () => await heartRate(gateway) === 60, 'the reading at the replica')
  await primary.query('alter role gateway nologin')
  await primary.query('select pg_terminate_backend(pid) from pg_stat_activity where usename = \'gateway\'')
  // As if the replica were cut off, too.
  await replica.query('select pg_wal_replay_pause()')
  await until(async () => /replica 127\.0\.0\.1:\d+ answers reads, which may lack what others have stored/.test(await warningsOf(gateway)),
    'the warning', 20_000)
  t.ok(await metric(gateway, `vital_replica_age_seconds{replica="${new URL(replica.url).host}"}`) > 5)
  t.equal(await heartRate(gateway), 60, 'the replica answers all the same')
  await primary.query('alter role gateway login')
  await replica.query('select pg_wal_replay_resume()')
  await until(async () => !(await warningsOf(gateway)).includes('may lack'), 'the end of the warning', 20_000)
})

t.test('without replicas a 202 carries no position', async (t) => {
  const gateway = await startGateway(t)
  t.equal(await post(gateway, 1, 60), null)
  t.equal(await heartRate(gateway, '1:0/FFFFFFFF'), 60)
})
