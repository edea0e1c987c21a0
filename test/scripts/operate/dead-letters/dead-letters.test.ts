import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { exactly } from '../../../helpers/exactly.ts'
import { connectClient, readLedger, startGateway } from '../../../helpers/gateway.ts'
import { createEmptyDatabase, createTestDatabase, createTestDir } from '../../../helpers/postgres.ts'
import { runOperated, runOperatorScript, startOperated } from '../../../helpers/operator.ts'

const LETTERS = 'select id, device, reason from dead_letters order by received_at, id'

t.test('list, show and discard', async (t) => {
  const { run, publish, query } = await startOperated(t, 'dead-letters')
  t.match(await run('list'), { status: 0, stdout: 'no dead letters match\n' })
  await publish('vital/a', '{"timestamp":1,"heartRateValue":"88","spo2Value":null}')
  await publish('vital/a', '{"note":"\u001b[31m\u202e')
  await publish('vital/$x/\u001b[2Jy', Buffer.from([0xff, 0x1b, 0x00]))
  await query('update dead_letters set received_at = received_at - interval \'3 hours\' where reason = \'invalid_topic\'')
  const [binary, typed, broken] = await query<{ id: string }>(LETTERS)

  const { stdout } = await run('list')
  const [header, ...lines] = stdout.trimEnd().split('\n')
  t.match(header, /^ID +RECEIVED +DEVICE +REASON +BYTES +ERROR$/)
  t.strictSame(lines.map((line) => line.slice(0, 36)), [broken!.id, typed!.id, binary!.id], 'newest first')
  t.match(lines[1], / a +invalid_reading +54 +\/heartRateValue must be a finite number \(\+1\)$/)
  t.match(lines[2], / \(vital\/\$x\/\\u001b\[2Jy\) +invalid_topic +3 +the topic must be/)
  t.notMatch(stdout, '\u001b', 'no escape sequence of a payload reaches the terminal')

  t.match((await run('list', '--reason', 'invalid_reading')).stdout, typed!.id)
  t.match((await run('list', '--since', '2h', '--limit', '1')).stdout, /\nthe newest 1 of 2; --limit 2 shows all\n$/)
  t.match(JSON.parse((await run('list', '--until', '2h', '--json')).stdout), {
    total: 1, resources: exactly({ id: binary!.id, topic: 'vital/$x/\u001b[2Jy', payloadBytes: 3 })
  })
  t.match((await run('list', '--device', 'b')).stdout, 'no dead letters match')

  const shown = await run('show', typed!.id)
  t.match(shown.stdout, /^topic +vital\/a$/m)
  t.match(shown.stdout, /^client +bed-7$/m)
  t.match(shown.stdout, /^error +\/spo2Value must be/m)
  t.match(shown.stdout, '\npayload (54 bytes, text):\n{"timestamp":1,"heartRateValue":"88","spo2Value":null}\n')
  const escaped = (await run('show', broken!.id)).stdout
  t.match(escaped, '{"note":"\\u001b[31m\\u202e')
  t.notMatch(escaped, /[\u001b\u202e]/) // eslint-disable-line no-control-regex -- what must not be printed
  t.match((await run('show', binary!.id)).stdout, '\npayload (3 bytes, hex):\nff1b00\n')
  t.match(JSON.parse((await run('show', binary!.id, '--json')).stdout), { payload: '/xsA', text: null })
  t.match(await run('replay', typed!.id, '--payload', join('none', 'none.json')), {
    status: 2, stderr: /^vital-gateway dead-letters: --payload none.none\.json cannot be read/
  })
  const missing = '00000000-0000-4000-8000-000000000000'
  t.match(await run('show', missing), { status: 1, stdout: '', stderr: `there is no dead letter ${missing}` })

  const refused = await run('discard', '--device', 'a')
  t.match(refused, {
    status: 1, stdout: '', stderr: /^vital-gateway dead-letters: 2 dead letters match; nothing was discarded\. Add --yes/
  })
  t.match(await run('discard', '--reason', 'invalid_topic'), { status: 0, stdout: 'discarded 1\n' }, 'one letter needs no --yes')
  t.match(await run('discard', typed!.id, missing), { status: 1, stdout: 'discarded 1; 1 were not there\n' })
  t.match(await run('discard', '--all', '--yes'), { status: 0, stdout: 'discarded 1\n' })
  t.match(await run('discard', '--all', '--yes'), { status: 0, stdout: 'discarded 0\n' })
  t.strictSame(await query(LETTERS), [])
})

t.test('a replay after a fix goes through the ingest of the gateway, and removes a letter only when stored', async (t) => {
  const { run, publish, query, httpUrl, mqttPort, dir } = await startOperated(t, 'dead-letters')
  // Valid by now, like a reading that was refused while the clock of the gateway was behind.
  await publish('vital/a', 'x')
  await publish('vital/a/b', '{"timestamp":3,"heartRateValue":73}')
  await publish('vital/a', '{"timestamp":4,"device":"b"}')
  await publish('vital/a', '{"timestamp":5,"heartRateValue":"75"}')
  await publish('vital/c', 'y')
  const [mended, unnamed, mismatched, typed, later] = (await query<{ id: string }>(LETTERS)).map(({ id }) => id)
  await query('update dead_letters set payload = $1 where id = $2', [Buffer.from('{"timestamp":9,"heartRateValue":79}'), later])

  const operator = await connectClient(t, mqttPort)
  const seen: string[] = []
  operator.on('message', (topic, payload) => { seen.push(`${topic} ${payload.toString()}`) })
  await operator.subscribeAsync('vital/+', { qos: 1 })

  const all = await run('replay', '--all')
  t.equal(all.status, 1, 'some were kept')
  t.strictSame(all.stdout.trimEnd().split('\n'), [
    `kept      ${mended}: must be JSON: unexpected character at position 0`,
    `kept      ${unnamed}: its topic names no valid device; say which device sent it with --as DEVICE`,
    `kept      ${mismatched}: its payload names another device than its topic; mend it with --payload FILE`,
    `kept      ${typed}: /heartRateValue must be a finite number`,
    `resent    ${later}`,
    'resent 1, kept 4'
  ])
  t.strictSame((await query<{ id: string }>(LETTERS)).map(({ id }) => id), [mended, unnamed, mismatched, typed])

  t.match(await run('replay', unnamed!, '--as', 'a'), { status: 0, stdout: `resent    ${unnamed}\nresent 1, kept 0\n` })
  const file = join(dir, 'fixed.json')
  await writeFile(file, '[{"timestamp":5,"heartRateValue":75},{"timestamp":6}]\n')
  t.match(await run('replay', typed!, '--payload', file), { status: 0 })
  await writeFile(file, '[{"timestamp":7},{"timestamp":8,"heartRateValue":null}]')
  t.match(await run('replay', mended!, '--payload', file), {
    status: 1, stdout: `kept      ${mended}: /1/heartRateValue must be a finite number\nresent 0, kept 1\n`
  })

  t.strictSame(await query('select device, extract(epoch from time)::int as s, vitals from readings order by 1, 2'), [
    {
      device: 'a', s: 3, vitals: { heartRateValue: 73 }
    }, { device: 'a', s: 5, vitals: { heartRateValue: 75 } }, { device: 'a', s: 6, vitals: {} },
    { device: 'c', s: 9, vitals: { heartRateValue: 79 } }
  ])
  t.strictSame((await query<{ id: string }>(LETTERS)).map(({ id }) => id), [mended, mismatched])
  t.match(await query('select device, heart_rate from latest order by 1'),
    exactly({ device: 'a', heart_rate: 75 }, { device: 'c', heart_rate: 79 }))
  t.strictSame(seen.map((line) => line.slice(0, 8)), ['vital/c ', 'vital/a ', 'vital/a '], 'subscribers get the stored readings')
  t.match(await readLedger(httpUrl), { received: 5 + 3 + 1 + 2 + 2, stored: 4, deadLettered: 5, refused: 4, balance: 0 })
})

t.test('a letter whose reading is already stored is a duplicate, and is removed', async (t) => {
  const { run, publish, query, httpUrl } = await startOperated(t, 'dead-letters')
  await publish('vital/a', '{"timestamp":1}')
  await publish('vital/a', 'x')
  await query('update dead_letters set payload = \'{"timestamp":1}\'')
  t.match(await run('replay', '--device', 'a', '--since', '1h'), { status: 0, stdout: /resent 1, kept 0\n$/ })
  t.match(await readLedger(httpUrl), { stored: 1, duplicate: 1, balance: 0 })
  t.strictSame(await query(LETTERS), [])
})

t.test('a gateway on another database, no gateway, and a busy one keep the letters', async (t) => {
  const { run, publish, query } = await startOperated(t, 'dead-letters')
  await publish('vital/a', '{"timestamp":1,"device":"b"}')
  await query('update dead_letters set payload = \'{"timestamp":1}\'')
  const other = await startGateway(t, {
    DATABASE_URL: (await createTestDatabase(t)).connectionString, VITAL_DATA_DIR: await createTestDir(t)
  })
  t.match(await run('replay', '--all', '--url', other.httpUrl), { status: 1, stdout: '', stderr: /has another database/ })
  t.match(await readLedger(other.httpUrl), { received: 0 })

  let posts = 0
  const stranger = createServer((request, response) => {
    if (request.method === 'GET') {
      response.writeHead(200).end('{}')
      return
    }
    posts++
    response.writeHead(posts < 3 ? 429 : 503, { 'retry-after': '0' }).end(posts < 3 ? 'busy' : '{"message":"PostgreSQL is away"}')
  }).listen(0, '127.0.0.1')
  await once(stranger, 'listening')
  const url = `http://127.0.0.1:${(stranger.address() as AddressInfo).port}`
  const busy = await run('replay', '--all', '--url', url)
  t.match(busy, { status: 1, stderr: `the gateway at ${url} cannot take anything now: it answers 503: PostgreSQL is away.` })
  t.equal(posts, 5)
  stranger.close()
  await once(stranger, 'close')
  t.match(await run('replay', '--all', '--url', url), { status: 1, stderr: /cannot take anything now: ECONNREFUSED\.\nIs it running\?/ })
  t.equal((await query(LETTERS)).length, 1, 'the letter is still there')
  t.match(await run('replay', '--all'), { status: 0 })
})

t.test('the database is found by DATABASE_URL or the data directory', async (t) => {
  const dir = await createTestDir(t)
  const { connectionString } = await createTestDatabase(t)
  const run = (variables: Record<string, string>) => runOperated('dead-letters', ['list'], variables)
  t.match(await run({ VITAL_DATA_DIR: dir }), {
    status: 1,
    stdout: '',
    stderr: `cannot tell which PostgreSQL: DATABASE_URL is not set, and ${join(dir, 'database-url')} does not ` +
      'exist.\nStart the gateway there'
  })
  await writeFile(join(dir, 'database-url'), `${connectionString}\n`, { mode: 0o600 })
  t.match(await run({ VITAL_DATA_DIR: dir }), { status: 0, stdout: 'no dead letters match\n' })

  const closed = createServer().listen(0, '127.0.0.1')
  await once(closed, 'listening')
  const { port } = closed.address() as AddressInfo
  closed.close()
  await once(closed, 'close')
  const away = await run({ DATABASE_URL: `postgres://u:secret@127.0.0.1:${port}/d` })
  t.match(away, { status: 1, stderr: /^vital-gateway dead-letters: PostgreSQL of DATABASE_URL: .*ECONNREFUSED.*\nIs it running/ })
  t.notMatch(away.stderr, 'secret')
  await writeFile(join(dir, 'database-url'), `postgres://u:secret@127.0.0.1:${port}/d`)
  t.match(await run({ VITAL_DATA_DIR: dir }), { status: 1, stderr: /ECONNREFUSED.*\nThe embedded PostgreSQL runs while the gateway does/ })
  t.match(await run({ DATABASE_URL: 'postgres://:bad port' }), {
    status: 1, stderr: /^vital-gateway dead-letters: DATABASE_URL cannot be read as a URL/
  })
  t.match(await run({ DATABASE_URL: (await createEmptyDatabase(t)).connectionString }), {
    status: 1, stderr: /has no tables of vital-gateway: start a gateway/
  })
})

t.test('as a process: help, .env, wrong usage and a wrong environment', async (t) => {
  const dir = await createTestDir(t)
  const { connectionString } = await createTestDatabase(t)
  await writeFile(join(dir, '.env'), `DATABASE_URL=${connectionString}\n`)
  const run = (args: string[], variables = {}) => runOperatorScript(t, 'dead-letters', args, variables, dir)
  const [help, list, wrong, environment] = await Promise.all([
    run(['--help']), run(['list', '--json']), run(['lst']), run(['list'], { VITAL_NONSENSE: '1' })
  ])
  t.match(help, { status: 0, stdout: /vital-gateway dead-letters list/, stderr: '' })
  t.match(list, { status: 0, stdout: '{\n  "total": 0,\n  "resources": []\n}\n', stderr: '' })
  t.match(wrong, {
    status: 2,
    stdout: '',
    stderr: /^vital-gateway dead-letters: unknown command 'lst'\n\(Did you mean list\?\)\nSee vital-gateway dead-letters --help\n$/
  })
  t.match(environment, { status: 1, stdout: '', stderr: /^vital-gateway dead-letters: The environment is not valid:\n +VITAL_NONSENSE/ })
})
