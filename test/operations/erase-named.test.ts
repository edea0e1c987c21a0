import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { connectClient, startGateway } from '../helpers/gateway.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'

const erase = async (httpUrl: string, device: string) =>
  await (await fetch(`${httpUrl}/vital-data/${encodeURIComponent(device)}`, { method: 'DELETE' })).json() as { deadLetters: number }

/** Payloads of another device that hold data of ward-3. */
const NAMING = [
  '{"device":"ward-3","timestamp":1,"heartRateValue":60}',
  '[{"timestamp":6},{"device":"ward-3","timestamp":1}]',
  '[{"device":"ward-3","timestamp":2},{"device":"ward-4","timestamp":2}',
  '{"device":"ward-3","device":"ward-4","timestamp":3}',
  '{"data":{"device":"ward-3","timestamp":4}}',
  '{"device":"\\u0077ard-3","timestamp":5}',
  '{"device":"\\u0077ard-3","timestamp":',
  '{device:\'ward-3\'}'
]

/** Its other payloads, in which the id is only part of another id or a word of a text. */
const OTHERS = [
  '{"device":"ward-33","timestamp":1}',
  '{"device":"ward-5","timestamp":1,"note":"moved from \\"ward-3\\" to \\u0041"}',
  '{"device":"ward-5","timestamp":1,"note":"ward-3"}',
  'not about ward-3',
  '\\u0077',
  '{"device":"\\\\ward-3","timestamp":"x"}'
]

t.test('dead letters in which another device names the erased one go with it', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const { mqttPort, httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  const client = await connectClient(t, mqttPort, { clientId: 'ward-4' })
  for (const payload of [...NAMING, ...OTHERS]) await client.publishAsync('vital/ward-4', payload, { qos: 1 })
  for (const topic of [
    '/vital/ward-3', 'vitals/ward-3', 'vital/ward-3/hr', 'vital/ward-33/hr', 'vital/ward-4/hr'
  ]) await client.publishAsync(topic, 'x', { qos: 1 })
  const payloads = async () => (await query<{ payload: Buffer }>('select payload from dead_letters where topic = ' +
    '\'vital/ward-4\'')).map(({ payload }) => payload.toString())
  const before = await payloads()
  const { deadLetters } = await erase(httpUrl, 'ward-3')
  const left = await payloads()
  t.same(left.filter((payload) => !OTHERS.includes(payload)), [], 'no dead letter that names the device is left')
  t.same(left.sort(), before.filter((payload) => OTHERS.includes(payload)).sort(), 'all others are left')
  t.ok(OTHERS.every((payload) => left.includes(payload)))
  t.equal(deadLetters, before.length - left.length + 3)
  t.same((await query('select topic from dead_letters where topic <> \'vital/ward-4\' order by topic')),
    [{ topic: 'vital/ward-33/hr' }, { topic: 'vital/ward-4/hr' }])
})

t.test('more dead letters than one slice are erased', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const { httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  await query(`insert into dead_letters select gen_random_uuid(), now(), 'mqtt', 'vital/b', 'b', 'b', 'device_mismatch', '[]',
    convert_to('{"device":"' || (case n % 3 when 0 then 'a' else 'c' end) || '"}', 'UTF8') from generate_series(1, 1500) n`)
  t.match(await erase(httpUrl, 'a'), { deadLetters: 500 })
  t.same(await query('select count(*)::int as n from dead_letters'), [{ n: 1000 }])
})

t.test('an id is erased also where the encoding of the database makes it escaped', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const { httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  await query(`insert into dead_letters
    select gen_random_uuid(), now(), 'mqtt', 'vital/' || device, device, device, 'invalid_json', '[]', 'x'
    from (values ('\\u043a'), ('\\u043b')) v(device)`)
  t.match(await erase(httpUrl, 'к'), { deadLetters: 1 })
  t.same(await query('select device from dead_letters'), [{ device: '\\u043b' }])
})

t.test('dead letters kept in files are erased too', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  await query('create function refuse() returns trigger language plpgsql as $$ begin raise exception \'not this one\'; end $$')
  await query('create trigger refuse before insert on dead_letters for each row execute function refuse()')
  const dataDir = await createTestDir(t)
  const { mqttPort, httpUrl } = await startGateway(t, { DATABASE_URL: connectionString, VITAL_DATA_DIR: dataDir })
  const file = join(dataDir, 'refused-dead-letters.ndjson')
  const client = await connectClient(t, mqttPort, { clientId: 'ward-4' })
  await client.publishAsync('vital/ward-3', 'x', { qos: 1 })
  await client.publishAsync('vital/ward-4', NAMING[0]!, { qos: 1 })
  await client.publishAsync('vital/ward-4', 'y', { qos: 1 })
  const spool = join(dataDir, 'spool')
  const aside = (n: number, letter: string, device: string) => writeFile(join(spool, `aside-${String(n).padStart(32, '0')}.json`),
    JSON.stringify({
      why: 'x', transport: 'mqtt', clientId: 'ward-4', device, letter: { device, payload: Buffer.from(letter).toString('base64') }
    }))
  await Promise.all([aside(1, 'x', 'ward-3'), aside(2, NAMING[0]!, 'ward-4'), aside(3, 'y', 'ward-4')])
  t.equal((await readFile(file, 'utf8')).trim().split('\n').length, 3)
  t.match(await erase(httpUrl, 'ward-3'), { deadLetters: 0 })
  const letters = (await readFile(file, 'utf8')).trim().split('\n').map((line) => JSON.parse(line) as { payload: string })
  const payloads = letters.map(({ payload }) => Buffer.from(payload, 'base64').toString())
  t.same(payloads, ['y'])
  t.same((await readdir(spool)).filter((name) => name.startsWith('aside-')), [`aside-${'3'.padStart(32, '0')}.json`])
  await client.publishAsync('vital/ward-4', 'z', { qos: 1 })
  t.equal((await readFile(file, 'utf8')).trim().split('\n').length, 2, 'the file is still written')
})
