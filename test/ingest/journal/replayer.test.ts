import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createDatabase } from '../../../db/database.ts'
import { createStore } from '../../../db/store.ts'
import { Circuit } from '../../../src/ingest/journal/circuit.ts'
import { Ledger } from '../../../src/ingest/ledger.ts'
import { toReadingRow } from '../../../src/ingest/reading-row.ts'
import { createPostgresTarget } from '../../../src/ingest/journal/postgres-target.ts'
import { Replayer } from '../../../src/ingest/journal/replayer.ts'
import { encodeSubmissions } from '../../../src/ingest/journal/spool/codec.ts'
import { realDisk } from '../../../src/ingest/journal/spool/disk.ts'
import { eraseSetAside } from '../../../src/ingest/journal/spool/set-aside.ts'
import { openSpool } from '../../../src/ingest/journal/spool/spool.ts'
import type { Submission } from '../../../src/ingest/submission.ts'
import { createDatabaseSwitch } from '../../helpers/database-switch.ts'
import { startGateway } from '../../helpers/gateway.ts'
import { createTestDatabase, createTestDir } from '../../helpers/postgres.ts'
import { until } from '../../helpers/until.ts'

const READINGS = 40
const CULPRIT = 7

/** A replayer on a real spool and a real circuit. `write` decides how each write ends. */
async function startReplayer (t: Test, write: (submissions: readonly Submission[]) => Promise<void>) {
  const logger = pino({ level: 'silent' })
  const { connectionString } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 2, logger })
  t.teardown(() => database.close())
  const directory = join(await createTestDir(t), 'spool')
  const spool = await openSpool({ directory, bytesMax: 1e9, segmentBytes: 1e6, disk: realDisk, logger })
  t.teardown(() => spool.close())
  // One batch of one message, so that the replayer must split it.
  const rows = Array.from({ length: READINGS }, (_, index) => toReadingRow({
    timestamp: index, heartRateValue: index, blob: 'x'.repeat(18_000)
  }, `d${index}`, 1))
  const { payload, readings } = await encodeSubmissions([{ transport: 'mqtt', clientId: null, readings: rows, letters: [] }])
  await spool.append(payload, readings)
  const ledger = new Ledger()
  const target = createPostgresTarget({ store: createStore(database), pool: database.pool, logger })
  const circuit: Circuit = new Circuit({
    target, logger, hasBacklog: () => replayer.hasTrial, onChange: () => { replayer.wake() }
  })
  const replayer = new Replayer({ target, spool, circuit, ledger, logger, commitTimeoutMs: 1500, write, isBusy: () => false })
  t.teardown(async () => {
    circuit.stop()
    await replayer.stop()
  })
  circuit.prove()
  circuit.start()
  replayer.start()
  return { replayer, spool, ledger, circuit, directory }
}

const canceled = () => Object.assign(new Error('canceling statement due to statement timeout'), { code: '57014', severity: 'ERROR' })

t.test('a set that PostgreSQL refuses shrinks with each try, down to one reading', async (t) => {
  const sizes: number[] = []
  let taken = 0
  const { spool, circuit } = await startReplayer(t, async (submissions) => {
    const readings = submissions.reduce((sum, { units }) => sum + units, 0)
    sizes.push(readings)
    if (readings > 1 && taken < 3) throw canceled()
    taken += readings
  })
  await until(() => spool.isEmpty, 'all is replayed')
  const first = sizes.indexOf(1)
  t.ok(first > 0 && sizes.slice(0, first).every((size, index) => index === 0 || size < sizes[index - 1]!), sizes.join())
  t.ok(sizes.length < READINGS, 'and grows again while sets are stored')
  t.equal(taken, READINGS)
  t.equal(circuit.state, 'closed')
})

t.test('one reading that PostgreSQL refuses is set aside, and the others are stored', async (t) => {
  const { spool, ledger, directory, replayer } = await startReplayer(t, async (submissions) => {
    if (submissions.some(({ readings }) => readings.some(({ device }) => device === `d${CULPRIT}`))) throw canceled()
  })
  await until(() => spool.isEmpty, 'all is replayed or set aside')
  t.equal(replayer.pending, 0)
  t.equal(ledger.account('mqtt').stored, READINGS - 1)
  t.same([...ledger.account('mqtt').refused], [['unavailable', 1]])
  t.equal(spool.setAsideFiles, 1)
  const [name] = (await readdir(directory)).filter((name) => name.startsWith('aside-'))
  t.match(JSON.parse(await readFile(join(directory, name!), 'utf8')), {
    why: /statement timeout/,
    device: `d${CULPRIT}`,
    reading: {
      device: `d${CULPRIT}`, timestamp: CULPRIT, heartRateValue: CULPRIT, blob: /^x{18000}$/
    }
  })
  await eraseSetAside(directory, 'd1')
  await eraseSetAside(directory, `d${CULPRIT}`)
  t.same((await readdir(directory)).filter((name) => name.startsWith('aside-')), [])
})

t.test('nothing is set aside while PostgreSQL refuses all readings', async (t) => {
  let isLocked = true
  const { spool, circuit, replayer } = await startReplayer(t, async () => { if (isLocked) throw canceled() })
  await sleep(6000)
  t.equal(spool.setAsideFiles, 0)
  t.not(circuit.state, 'closed')
  isLocked = false
  await until(() => spool.isEmpty, 'all is replayed')
  t.equal(replayer.replayed, READINGS)
})

t.test('large readings that PostgreSQL stores slowly are replayed, and new ones do not meet an open circuit', async (t) => {
  const database = await createDatabaseSwitch(t)
  // Sixty of them in one transaction would take longer than any time-out of a set.
  await database.query('create function nap() returns trigger language plpgsql as $$ begin perform ' +
    'pg_sleep(length(new.vitals->>\'blob\') / 180000.0); return new; end $$')
  await database.query('create trigger nap before insert on readings for each row execute function nap()')
  const { httpUrl } = await startGateway(t, { DATABASE_URL: database.connectionString })
  const post = async (body: object) => (await fetch(`${httpUrl}/vital-data`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body)
  })).status
  const health = async () => await (await fetch(`${httpUrl}/health/ready`)).json() as {
    database: { circuit: string }
    spool: { readings: number }
  }
  await database.off()
  for (let index = 0; index < 60; index += 10) {
    t.equal(await post(Array.from({ length: 10 }, (_, at) => ({ device: 'a', timestamp: index + at, blob: 'x'.repeat(18_000) }))), 202)
  }
  await database.on()
  await until(async () => (await health()).database.circuit === 'closed', 'the circuit closes')
  t.ok((await health()).spool.readings > 0, 'while most of it still waits')
  const seen = new Set<string>()
  await until(async () => {
    t.equal(await post({ device: 'b', timestamp: 1 }), 202)
    const { database: { circuit }, spool: { readings } } = await health()
    seen.add(circuit)
    return readings === 0
  }, 'the spool is replayed')
  t.same([...seen], ['closed'])
  t.same(await database.query('select count(*)::int as readings from readings where device = \'a\''), [{ readings: 60 }])
})
