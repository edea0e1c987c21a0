import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { connectClient, readLedger, startGateway } from '../gateway.ts'
import { createTestDatabase, createTestDir } from '../postgres.ts'

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

t.test('a letter in characters that the database has not is stored with its texts escaped', async (t) => {
  // As an encoding without Cyrillic answers.
  const { query, gateway, publish } = await setUp(t, 'if concat(new.topic, new.device, new.client_id) ~ \'[^\\u0001-\\u007f]\' then raise exception \'no equivalent\' using errcode = \'22P05\'; end if;')
  const sent = ['vital/ключ', 'vital/a', 'vital/ключ/x'].map((topic) => publish(topic, 'no JSON'))
  await Promise.all([...sent, publish('vital/b', '{"timestamp":1,"heartRateValue":61}')])
  t.same((await query<{ topic: string }>('select topic from dead_letters')).map(({ topic }) => topic).sort(), ['vital/\\u043a\\u043b\\u044e\\u0447', 'vital/\\u043a\\u043b\\u044e\\u0447/x', 'vital/a'])
  t.match(await readLedger(gateway.httpUrl), { received: 4, stored: 1, deadLettered: 3, balance: 0 })
  t.match(await (await fetch(`${gateway.httpUrl}/health/ready`)).json(), { database: { circuit: 'closed' } })
})

t.test('a letter that is refused whatever is left out of it is kept in a file, and the others go on', async (t) => {
  const { query, dataDir, gateway, publish } = await setUp(t, 'if new.payload = \'bad\' then raise exception \'not this one\'; end if;')
  const sent = ['bad', 'worse', 'bad', '{"timestamp":1,"heartRateValue":61}'].map((payload, n) => publish(`vital/d${n}`, payload))
  await Promise.all(sent)
  const kept = (await readFile(join(dataDir, 'refused-dead-letters.ndjson'), 'utf8')).trim().split('\n').map((line) => JSON.parse(line) as { payload: string, device: string })
  t.same(kept.map(({ payload, device }) => [Buffer.from(payload, 'base64').toString(), device]).sort(), [['bad', 'd0'], ['bad', 'd2']])
  t.same(await query('select (select count(*)::int from readings) as readings, (select count(*)::int from dead_letters) as letters'), [{ readings: 1, letters: 1 }])
  t.match(await readLedger(gateway.httpUrl), { received: 4, stored: 1, deadLettered: 3, balance: 0 })
  t.match(await (await fetch(`${gateway.httpUrl}/health/ready`)).json(), { database: { circuit: 'closed' }, warnings: [/refused 2 dead letters/] })
  t.match(await (await fetch(`${gateway.httpUrl}/metrics`)).text(), /^vital_dead_letters_refused_total 2$/m)
})

t.test('a partition that is made meanwhile is no outage', async (t) => {
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
