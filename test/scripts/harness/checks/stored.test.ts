import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { acknowledgedWithin, checkStored, type Query, StoredCheck } from '../../../../scripts/harness/checks/stored.ts'
import { type Entry, type LedgerEntries, LedgerFile, readLedger, readParts } from '../../../../scripts/harness/checks/ledger-file.ts'
import {
  DEFAULT_LOAD, type FromPublisher, type PublisherFigures, type PublisherSettings, type ToPublisher
} from '../../../../scripts/harness/devices/messages.ts'
import { createQuery } from '../../../../scripts/harness/own-postgres.ts'
import { Span } from '../../../../scripts/harness/checks/span.ts'
import { exactly } from '../../../helpers/exactly.ts'
import { startGateway } from '../../../helpers/gateway.ts'
import { LOADER, toProgram } from '../../../helpers/program.ts'

const PUBLISHER = toProgram('scripts/harness/devices/publisher.ts')

async function ask (child: ChildProcess, message: ToPublisher, type: FromPublisher['type']): Promise<FromPublisher> {
  return await new Promise((resolve, reject) => {
    const take = (answer: FromPublisher) => {
      if (answer.type !== type && answer.type !== 'failed') return
      child.off('message', take)
      if (answer.type === 'failed') reject(new Error(answer.message))
      else resolve(answer)
    }
    child.on('message', take)
    child.send(message)
  })
}

async function readFigures (child: ChildProcess): Promise<PublisherFigures> {
  const answer = await ask(child, { type: 'figures' }, 'figures')
  if (answer.type !== 'figures') throw new TypeError('another answer')
  return answer.figures
}

function write (path: string, lines: (file: LedgerFile) => void): void {
  const file = new LedgerFile(path)
  lines(file)
  file.close()
}

/** Publishes for a moment to a real gateway. */
async function publish (t: Test, protocolVersion: 4 | 5 = 4): Promise<{ ledger: LedgerEntries, query: Query, figures: PublisherFigures }> {
  const gateway = await startGateway(t)
  const child = fork(PUBLISHER, { execArgv: [...LOADER] })
  t.teardown(() => child.kill('SIGKILL'))
  const settings: PublisherSettings = {
    mqttPort: gateway.mqttPort,
    httpPort: gateway.httpPort,
    ledgerPath: join(t.testdir(), 'ledger.txt'),
    prefix: 'check',
    seed: 5,
    ...DEFAULT_LOAD,
    protocolVersion,
    devices: 16,
    httpDevices: 2,
    window: 20,
    backlog: 3,
    numbering: { first: 0, step: 1 },
    invalidShare: 0.1
  }
  await ask(child, { type: 'run', settings }, 'running')
  let figures = await readFigures(child)
  while (figures.sent < 500) figures = await readFigures(child)
  child.send({ type: 'making', isMaking: false } satisfies ToPublisher)
  while (figures.unacknowledged > 0) figures = await readFigures(child)
  await ask(child, { type: 'end' }, 'ended')
  return { ledger: await readLedger(settings.ledgerPath), query: createQuery(gateway.connectionString), figures }
}

t.test('the publisher, its ledger and the checkers, against a real gateway', async (t) => {
  const { ledger, query, figures } = await publish(t)
  const check = () => checkStored({ query, ledger, prefix: 'check' })
  const checkers = async () => [...new Set((await check()).violations.map(({ checker }) => checker))].sort()

  const whole = await check()
  t.same(whole.violations, [])
  t.same(whole.lost, [])
  t.same(figures.faults, [])
  t.equal(whole.acknowledged, figures.acknowledged)
  t.equal(whole.stored + whole.letters, figures.sent)
  t.ok(whole.letters > 0, 'the load includes invalid readings')
  t.equal(acknowledgedWithin(ledger, 0, Infinity).acknowledged, figures.acknowledged)

  const spoil = async (name: string, spoil: string, mend: string, wanted: readonly string[], lost: number) => {
    await query(spoil)
    t.same(await checkers(), wanted, name)
    t.equal((await check()).lost.length, lost, name)
    await query(mend)
    t.same(await checkers(), [], `${name}, mended`)
  }
  const one = '(select device, time, hash from readings where device = \'check-m1\' order by received_at, time, hash limit 1)'
  await query(`create table kept as select * from readings where (device, time, hash) = ${one}`)
  await query('create table kept_letter as select * from dead_letters where device = \'check-m2\' limit 1')
  await query('create table kept_latest as select device, time, vitals, vital_times from latest where device = \'check-m1\'')
  const mendLatest = 'update latest set time = k.time, vitals = k.vitals, vital_times = k.vital_times from kept_latest k where ' +
    'latest.device = k.device'

  await query(`delete from readings where (device, time, hash) = ${one}`)
  t.equal((await check()).lost.length, 1, 'a reading that is missing is lost')
  await query('insert into readings select * from kept')
  await spoil('a dead letter that is missing', 'delete from dead_letters where id in (select id from kept_letter)',
    'insert into dead_letters select * from kept_letter', [], 1)
  await spoil('a reading that is there twice', 'insert into readings select device, time, gen_random_uuid(), vitals, received_at from kept',
    'delete from readings r using kept k where (r.device, r.time) = (k.device, k.time) and r.hash <> k.hash and ' +
      'r.vitals = k.vitals', ['C2'], 0)
  await spoil('a reading that nobody sent', 'insert into readings values (\'check-x\', now(), gen_random_uuid(), \'{}\', now())',
    'delete from readings where device = \'check-x\'', ['C2'], 0)
  await spoil('a latest value that is older', 'update latest set vitals = vitals || \'{"heartRateValue": -1}\' where device = \'check-m1\'',
    mendLatest, ['C3'], 0)
  await spoil('a latest time that is another', 'update latest set time = time - interval \'1 s\' where device = \'check-m1\'', mendLatest,
    ['C3'], 0)
})

t.test('an altered reading counts as lost, and as something else', async (t) => {
  const { ledger, query } = await publish(t)
  await query('update readings set vitals = vitals || \'{"heartRateValue": -1}\' where device = \'check-m3\' and (vitals->\'n\')::int = 1')
  const { lost, lostCount, violations } = await checkStored({ query, ledger, prefix: 'check' })
  t.match({ count: lostCount, lost }, { count: 1, lost: exactly({ device: 'check-m3', n: 1 }) })
  const excused = await checkStored({ query, ledger, prefix: 'check', mayLose: ({ n }) => n === 1 })
  t.match(excused, { lost: exactly(), lostCount: 0, lostToDamage: 1 }, 'losses that a fault may cause')
  t.ok(violations.some(({ checker, message }) => checker === 'C2' && message.includes('something else')))
})

t.test('devices of MQTT 5 drop refused messages; a valid reading among them is a violation', async (t) => {
  const { ledger, query, figures } = await publish(t, 5)
  const check = () => checkStored({ query, ledger, prefix: 'check' })
  t.match(await check(), { violations: exactly(), lost: exactly(), acknowledged: figures.acknowledged })
  t.same(figures.faults, [])
  const entries = [...ledger.values()].flatMap((ofDevice) => ofDevice.filter((entry) => entry !== undefined))
  const refused = entries.filter(({ refusedWith }) => refusedWith !== null)
  t.ok(refused.length > 0 && refused.length === figures.refused, `${refused.length}`)
  t.ok(refused.every(({ kind, refusedWith }) => kind === 'letter' && refusedWith === 0x99))
  entries.find(({ kind }) => kind === 'reading')!.refusedWith = 0x80
  t.match((await check()).violations, exactly({ checker: 'C1', message: /could be stored was refused with 0x80/ }))
})

t.test('a malformed ledger is an error', async (t) => {
  const path = join(t.testdir(), 'ledger')
  write(path, (file) => {
    file.sent('a', 0, 1.5, 'reading', '{"note":"with spaces in it","n":0}')
    file.acknowledged('a', 0)
    file.sent('a', 1, 1.5, 'letter', '{"n":1}')
    file.refused('a', 1, 0x99)
  })
  const [entry, refused] = (await readLedger(path)).get('a') ?? []
  t.match(entry, { timeUs: 1_500_000, kind: 'reading', fields: { note: 'with spaces in it' }, resentAtMs: exactly() })
  t.type(entry?.acknowledgedAtMs, 'number')
  t.equal(entry?.refusedWith, null)
  t.equal(refused?.refusedWith, 0x99)
  t.type(refused?.acknowledgedAtMs, 'number')
  write(path, (file) => file.acknowledged('a', 2))
  await t.rejects(readLedger(path), /makes no sense/)
  for (const line of ['', 'S a 0 1.5 reading', 'A a 0', 'A a x 5', 'X a 0 5', 'D a 0 5 reading 5 {}', 'R a 0 5', 'A a 0 5 7']) {
    const bad = join(t.testdir(), 'ledger')
    write(bad, (file) => file.sent('a', 0, 1, 'reading', `{"n":0}\n${line}`))
    await t.rejects(readLedger(bad), /makes no sense/, line)
  }
})

t.test('two ledgers of several parts are merged, and each device is complete in its part', async (t) => {
  const dir = t.testdir()
  const paths = [join(dir, 'even'), join(dir, 'odd')]
  const devices = Array.from({ length: 100 }, (_, index) => `merged-m${index}`)
  // The lines of one device exceed a read, which ends within a character of several bytes.
  const noteOf = (device: string) => '✓'.repeat(device === devices[0] ? 200_000 : 10)
  for (const [first, path] of paths.entries()) {
    write(path, (file) => {
      for (let n = first; n < 4; n += 2) {
        for (const device of devices) {
          file.sent(device, n, n, n === 3 ? 'letter' : 'reading', JSON.stringify({ note: noteOf(device), n }))
          if (n === 2) file.resent(device, n)
          if (n > 0) file.acknowledged(device, n)
          file.flush()
        }
      }
    })
  }
  const seen: string[] = []
  let parts = 0
  for await (const part of readParts(...paths)) {
    if (part.size > 0) parts++
    for (const [device, entries] of part) {
      seen.push(device)
      t.same(entries.map((entry) => [entry?.device, entry?.n, entry?.kind, entry?.resentAtMs.length, entry?.acknowledgedAtMs === null]), [
        [device, 0, 'reading', 0, true], [device, 1, 'reading', 0, false], [device, 2, 'reading', 1, false], [device, 3, 'letter', 0, false]
      ], device)
      t.ok(entries.every((entry) => entry?.fields['note'] === noteOf(device)), device)
    }
  }
  t.ok(parts > 10, `${parts} parts have entries`)
  t.same(seen.sort(), [...devices].sort())
  t.equal((await readLedger(...paths)).size, devices.length)
  await t.rejects(readLedger(paths[0]!, paths[0]!), /twice/)
})

t.test('a query asks for a bounded number of readings, or for one device', async (t) => {
  const asked: unknown[] = []
  const query: Query = async (text, values) => {
    if (text.includes('from latest')) asked.push(values?.[0])
    return []
  }
  const check = new StoredCheck({ query, prefix: 'q' })
  const part = (devices: Record<string, number>): LedgerEntries =>
    new Map(Object.entries(devices).map(([device, length]) => [device, new Array<undefined>(length)]))
  await check.add(part({ a: 40_000, b: 60_000, c: 1, d: 250_000, e: 10 }))
  await check.add(part({}))
  await check.add(part({ f: 250_000, g: 4 }))
  t.same(asked, [['a', 'b'], ['c'], ['d'], ['e'], ['f'], ['g']])
})

t.test('figures of a time span are summed over parts', (t) => {
  const entry = (sentAtMs: number, acknowledgedAtMs: number | null): Entry =>
    ({ device: 'a', n: 0, timeUs: 1, kind: 'reading', fields: {}, sentAtMs, acknowledgedAtMs, refusedWith: null, resentAtMs: [] })
  const span = new Span(1000, 2000)
  t.same(span.figures(), { sent: 0, acknowledged: 0, acknowledgedInSpan: 0, p99Ms: 0, slowestMs: 0 })
  span.add(new Map([['a', [entry(999, 5000), entry(1000, 1007), undefined, entry(1500, null), entry(2001, 9000)]]]))
  span.add(new Map([['b', [entry(2000, 2000), entry(1990, 2490), ...Array.from({ length: 197 }, () => entry(1100, 1103))]]]))
  t.same(span.figures(), { sent: 201, acknowledged: 200, acknowledgedInSpan: 198, p99Ms: 7, slowestMs: 500 })
  t.end()
})
