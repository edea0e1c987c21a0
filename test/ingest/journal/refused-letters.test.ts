import { randomUUID } from 'node:crypto'
import { appendFile, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
import type { DeadLetterRow } from '../../../db/rows.ts'
import { createRefusedLetters } from '../../../src/ingest/journal/refused-letters.ts'
import { exactly } from '../../helpers/exactly.ts'
import { connectClient, readLedger, startGateway } from '../../helpers/gateway.ts'
import { createTestDatabase, createTestDir } from '../../helpers/postgres.ts'

async function setUp (t: Parameters<typeof createTestDatabase>[0], trigger: string) {
  const { connectionString, query } = await createTestDatabase(t)
  await query(`create function refuse() returns trigger language plpgsql as $$ begin ${trigger} return new; end $$`)
  await query('create trigger refuse before insert on dead_letters for each row execute function refuse()')
  const dataDir = await createTestDir(t)
  const gateway = await startGateway(t, { DATABASE_URL: connectionString, VITAL_DATA_DIR: dataDir })
  const device = await connectClient(t, gateway.mqttPort)
  const publish = (topic: string, payload: string) => device.publishAsync(topic, payload, { qos: 1 })
  return { query, dataDir, gateway, publish }
}

t.test('a letter with characters outside the encoding of the database is stored with its texts escaped', async (t) => {
  // The answer of a database whose encoding has no Cyrillic.
  const { query, gateway, publish } = await setUp(t,
    'if concat(new.topic, new.device, new.client_id) ~ \'[^\\u0001-\\u007f]\' then raise exception \'no equivalent\' using errcode = ' +
      '\'22P05\'; end if;')
  const sent = ['vital/ключ', 'vital/a', 'vital/ключ/x'].map((topic) => publish(topic, 'no JSON'))
  await Promise.all([...sent, publish('vital/b', '{"timestamp":1,"heartRateValue":61}')])
  t.same((await query<{ topic: string }>('select topic from dead_letters')).map(({ topic }) => topic).sort(),
    ['vital/\\u043a\\u043b\\u044e\\u0447', 'vital/\\u043a\\u043b\\u044e\\u0447/x', 'vital/a'])
  t.match(await readLedger(gateway.httpUrl), { received: 4, stored: 1, deadLettered: 3, balance: 0 })
  t.match(await (await fetch(`${gateway.httpUrl}/health/ready`)).json(), { database: { circuit: 'closed' } })
})

t.test('a letter that is refused in every form is kept in a file, and the others are stored', async (t) => {
  const { query, dataDir, gateway, publish } = await setUp(t, 'if new.payload = \'bad\' then raise exception \'not this one\'; end if;')
  const sent = ['bad', 'worse', 'bad', '{"timestamp":1,"heartRateValue":61}'].map((payload, n) => publish(`vital/d${n}`, payload))
  await Promise.all(sent)
  const kept = (await readFile(join(dataDir, 'refused-dead-letters.ndjson'), 'utf8')).trim().split('\n').map((line) => JSON.parse(line) as {
    payload: string
    device: string
  })
  t.same(kept.map(({ payload, device }) => [Buffer.from(payload, 'base64').toString(), device]).sort(), [['bad', 'd0'], ['bad', 'd2']])
  t.same(await query('select (select count(*)::int from readings) as readings, (select count(*)::int from dead_letters) as letters'),
    [{ readings: 1, letters: 1 }])
  t.match(await readLedger(gateway.httpUrl), { received: 4, stored: 1, deadLettered: 3, balance: 0 })
  t.match(await (await fetch(`${gateway.httpUrl}/health/ready`)).json(), {
    database: { circuit: 'closed' }, warnings: exactly(/refused 2 dead letters/)
  })
  t.match(await (await fetch(`${gateway.httpUrl}/metrics`)).text(), /^vital_dead_letters_refused_total 2$/m)
})

t.test('a partition that is created meanwhile is not an outage', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  await query('create sequence tries')
  await query(`create function race() returns trigger language plpgsql as $$ begin
    if nextval('tries') < 3 then raise exception 'moved' using errcode = '23514'; end if; return new; end $$`)
  await query('create trigger race before insert on readings for each row execute function race()')
  const gateway = await startGateway(t, { DATABASE_URL: connectionString })
  const device = await connectClient(t, gateway.mqttPort)
  await device.publishAsync('vital/a', '{"timestamp":1}', { qos: 1 })
  t.same(await query('select count(*)::int from readings'), [{ count: 1 }], 'stored by the time of its acknowledgement')
  t.match(await readLedger(gateway.httpUrl), { stored: 1, pending: 0 })
})

const toLetter = (reason: DeadLetterRow['reason'], bytes = 100): DeadLetterRow => ({
  id: randomUUID(),
  receivedAtMs: 1,
  transport: 'mqtt',
  topic: 'vital/a',
  clientId: 'a',
  device: 'a',
  reason,
  errors: [],
  payload: Buffer.alloc(bytes, 'x')
})

t.test('the file is bounded in bytes: further letters are counted, and logged once', async (t) => {
  const dataDir = await createTestDir(t)
  const path = join(dataDir, 'refused-dead-letters.ndjson')
  const lines: Array<{ msg: string }> = []
  const logger = pino({ level: 'error' }, { write: (line: string) => { lines.push(JSON.parse(line) as { msg: string }) } })
  const letters = createRefusedLetters({ dataDir, logger, bytesMax: 4000, garbageBytesMax: 2000 })
  const read = async () => (await readFile(path, 'utf8')).trim().split('\n').map((line) => (JSON.parse(line) as DeadLetterRow).reason)
  for (let n = 0; n < 20; n++) await letters.keep(toLetter('invalid_json'), 'no')
  const garbage = (await read()).length
  t.ok(garbage > 0 && garbage < 20)
  t.same([letters.count(), letters.dropped()], [20, 20 - garbage])
  t.equal(lines.filter(({ msg }) => msg.includes('dropped')).length, 1)
  for (let n = 0; n < 20; n++) await letters.keep(toLetter('database_rejected'), 'no')
  const valid = (await read()).filter((reason) => reason === 'database_rejected').length
  t.ok(valid > 0 && valid < 20, 'readings that are valid have room of their own')
  t.ok((await readFile(path)).length <= 4000)
  t.equal(lines.filter(({ msg }) => msg.includes('dropped')).length, 1)
  t.match(letters.warnings(), exactly(/kept in/, /are dropped/))

  await rename(path, `${path}.read`)
  const again = toLetter('invalid_json')
  await letters.keep(again, 'no')
  await letters.keep(again, 'no')
  t.same(await read(), ['invalid_json'], 'there is room again once the file is moved away')
})

t.test('a torn line does not spoil the next one, and the bound counts the lines of an earlier run', async (t) => {
  const dataDir = await createTestDir(t)
  const path = join(dataDir, 'refused-dead-letters.ndjson')
  await appendFile(path, '{"id":"cut sho')
  const letter = toLetter('invalid_json')
  await createRefusedLetters({ dataDir, logger: pino({ level: 'silent' }) }).keep(letter, 'no')
  const [cut, whole] = (await readFile(path, 'utf8')).split('\n')
  t.equal(cut, '{"id":"cut sho')
  t.match(JSON.parse(whole ?? ''), { id: letter.id })
  const next = createRefusedLetters({ dataDir, logger: pino({ level: 'silent' }), bytesMax: 100 })
  await next.keep(toLetter('database_rejected'), 'no')
  t.equal(next.dropped(), 1)
})
