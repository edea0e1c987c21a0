import t, { type Test } from 'tap'
import type { DeadLetter, DeadLetterList } from '../../schemas/dead-letter.ts'
import { exactly } from '../helpers/exactly.ts'
import { connectClient, startGateway } from '../helpers/gateway.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { expectError } from '../helpers/http-server.ts'

async function setUp (t: Test) {
  const { connectionString, query } = await createTestDatabase(t)
  const gateway = await startGateway(t, { DATABASE_URL: connectionString, VITAL_DATA_DIR: await createTestDir(t) })
  const get = (path: string) => fetch(`${gateway.httpUrl}/dead-letters${path}`)
  const list = async (search = '') => await (await get(`?${search}`)).json() as DeadLetterList
  /** A dead letter received at the Unix second `second`; `id` ends its UUID. */
  const insert = (second: number, id: number, device: string | null, reason: string) => query(
    'insert into dead_letters values ($1, to_timestamp($2), \'mqtt\', $3, \'client\', $4, $5, \'[]\', $6)',
    [`00000000-0000-4000-8000-${String(id).padStart(12, '0')}`, second, `vital/${device ?? 'a/b'}`, device, reason, Buffer.alloc(id, 'x')])
  return { ...gateway, query, get, list, insert }
}

t.test('a payload that was refused over MQTT is listed, and shown in full by its id', async (t) => {
  const { mqttPort, get, list } = await setUp(t)
  const client = await connectClient(t, mqttPort, { clientId: 'bed-7' })
  const before = Date.now() / 1000
  await client.publishAsync('vital/ä', '{"timestamp":1,"heartRateValue":"88"}', { qos: 1 })
  await client.publishAsync('vital/a/b', Buffer.from([0xff, 0]), { qos: 1 })

  const page = await get('')
  t.equal(page.headers.get('cache-control'), 'no-store')
  const { total, resources: [binary, text] } = await page.json() as DeadLetterList
  t.equal(total, 2)
  const { id, receivedAt, ...rest } = text!
  t.strictSame(rest, {
    transport: 'mqtt',
    topic: 'vital/ä',
    clientId: 'bed-7',
    deviceId: 'ä',
    reason: 'invalid_reading',
    errors: [{ path: '/heartRateValue', message: 'must be a finite number' }],
    payloadBytes: 37
  })
  t.ok(receivedAt >= before - 0.001 && receivedAt <= Date.now() / 1000)
  t.match(binary, { deviceId: 'a', topic: 'vital/a/b', reason: 'invalid_topic', payloadBytes: 2 })

  const whole = await get(`/${id}`)
  t.equal(whole.headers.get('cache-control'), 'no-store')
  t.strictSame(await whole.json(), {
    ...text,
    payload: Buffer.from('{"timestamp":1,"heartRateValue":"88"}').toString('base64'),
    text: '{"timestamp":1,"heartRateValue":"88"}'
  })
  t.strictSame(await (await get(`/${binary!.id.toUpperCase()}`)).json() as DeadLetter, { ...binary, payload: '/wA=', text: null })
  t.equal((await list('device=%C3%A4')).total, 1)
})

t.test('newest first, in stable pages, by device, reason and time', async (t) => {
  const { list, insert } = await setUp(t)
  for (let n = 1; n <= 30; n++) {
    const id = n * 7 % 31
    await insert(1000 + Math.floor(id / 4), id, id % 3 === 0 ? 'c' : null, id % 2 === 0 ? 'invalid_json' : 'invalid_topic')
  }
  const numbers = ({ resources }: DeadLetterList) => resources.map(({ id }) => Number(id.slice(-12)))
  const expected = Array.from({ length: 30 }, (_, index) => 30 - index)
  t.strictSame(numbers(await list()), expected.slice(0, 20))
  const pages = []
  for (let offset = 0; offset < 30; offset += 7) pages.push(...numbers(await list(`count=7&offset=${offset}`)))
  t.strictSame(pages, expected)
  t.strictSame(await list('offset=30'), { total: 30, resources: [] })

  t.strictSame(numbers(await list('device=c')), expected.filter((id) => id % 3 === 0))
  t.strictSame(numbers(await list('reason=invalid_json&count=100')), expected.filter((id) => id % 2 === 0))
  t.strictSame(numbers(await list('since=1002&until=1004')), [15, 14, 13, 12, 11, 10, 9, 8])
  t.match(await list('device=c&reason=invalid_json&since=1002&until=1004'), {
    total: 1, resources: exactly({ receivedAt: 1003, payloadBytes: 12 })
  })
  t.strictSame(await list('device=a%00b'), { total: 0, resources: [] })
})

t.test('refuses every other query, unknown ids and other methods', async (t) => {
  const { get, httpUrl } = await setUp(t)
  for (const [search, path] of [
    ['count=0', '/count'], ['count=101', '/count'], ['count=5.9', '/count'], ['offset=-1', '/offset'], ['device=', '/device'],
    [
      'reason=other', '/reason'
    ], ['reason=over_cap', '/reason'], ['since=yesterday', '/since'], ['until=1.5', '/until'], ['sortBy=id', '/sortBy']
  ] as const) {
    const { details } = await expectError(t, await get(`?${search}`), 400, 'VITAL_INVALID_QUERY')
    t.match(details, exactly({ path }), search)
  }
  for (const id of ['00000000-0000-4000-8000-000000000000', 'x', '1', '%00', '\'']) {
    await expectError(t, await get(`/${id}`), 404, 'VITAL_DEAD_LETTER_NOT_FOUND')
  }
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) {
    for (const path of ['', '/00000000-0000-4000-8000-000000000000']) {
      await expectError(t, await fetch(`${httpUrl}/dead-letters${path}`, { method }), 405, 'VITAL_METHOD_NOT_ALLOWED')
    }
  }
})

t.test('the caps of dead letters and their counts are metrics', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  await query('insert into dead_letters values (gen_random_uuid(), now(), \'mqtt\', null, null, \'full\', \'invalid_json\', ' +
    '\'[]\', \'12345\')')
  const { mqttPort, httpUrl } = await startGateway(t, {
    DATABASE_URL: connectionString,
    VITAL_DATA_DIR: await createTestDir(t),
    VITAL_DEAD_LETTERS_PER_DEVICE_MAX: '2',
    VITAL_DEAD_LETTERS_MAX: '9'
  })
  const read = async () => {
    const text = await (await fetch(`${httpUrl}/metrics`)).text()
    return [
      'dead_letters', 'dead_letter_bytes', 'dead_letter_devices_at_cap', 'dead_letters_max', 'dead_letter_bytes_max',
      'dead_letters_per_device_max'
    ]
      .map((name) => Number(new RegExp(`^vital_${name} (\\S+)$`, 'm').exec(text)?.[1]))
  }
  t.strictSame(await read(), [1, 5, 0, 9, 1024 ** 3, 2])
  const client = await connectClient(t, mqttPort)
  for (const payload of ['abc', 'def', 'ghi']) await client.publishAsync('vital/full', payload, { qos: 1 })
  await client.publishAsync('vital/other', 'x', { qos: 1 })
  t.strictSame(await read(), [3, 9, 1, 9, 1024 ** 3, 2])
})
