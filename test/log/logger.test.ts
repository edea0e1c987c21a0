import { spawnSync } from 'node:child_process'
import { existsSync, openSync, readFileSync, statSync } from 'node:fs'
import { createHmac } from 'node:crypto'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import pg from 'pg'
import t from 'tap'
import { createConfig } from '../../src/config/config.ts'
import { createGateway } from '../../src/gateway.ts'
import { createIdHash } from '../../src/log/log-ids.ts'
import { createLogger } from '../../src/log/logger.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { LOADER, toProgram } from '../helpers/program.ts'
import { bearer, login, openCredentials, tryConnect } from '../helpers/credentials.ts'

/** Client ids of a hostile client. */
const HOSTILE = ['a\n{"level":60,"msg":"forged"}', 'b\r\nforged', 'c\u001b[2Jgone', 'd\u009b2Jgone', 'e\u2028forged', 'f\u2029forged',
  'g\u202egnp.exe', 'h\u0000', 'i\u007f', 'j"},"msg":"forged', 'k\\', 'l\u200b']

// eslint-disable-next-line no-control-regex -- control characters are what must not be there
const DANGEROUS = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u200b]/

function capture () {
  const chunks: string[] = []
  const destination = new Writable({ write (chunk: Buffer, _encoding, done) { chunks.push(chunk.toString()); done() } })
  return { destination, text: () => chunks.join('') }
}

t.test('a log on a full disk ends no process', { skip: existsSync('/dev/full') ? false : 'there is no /dev/full here' }, async (t) => {
  const program = `
    import { createLogger } from ${JSON.stringify(toProgram('src/log/logger.ts'))}
    const logger = createLogger({ level: 'info', isPretty: false })
    process.on('uncaughtException', (error) => { logger.fatal({ err: error }, 'a bug'); process.exit(1) })
    for (let line = 0; line < 5000; line++) logger.info({ text: 'x'.repeat(1000) }, 'more than is kept')
    console.error('alive')`
  const { status, stderr } = spawnSync(process.execPath, [...LOADER, '--input-type=module', '-e', program],
    { stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'], encoding: 'utf8' })
  t.match({ status, stderr }, { status: 0, stderr: /alive/ })
})

t.test('an event is one line of plain JSON, whatever the client id holds', (t) => {
  const { destination, text } = capture()
  const logger = createLogger({ level: 'debug', destination, isPretty: false })
  for (const clientId of HOSTILE) logger.info({ clientId, nested: { [clientId]: clientId } }, 'login refused')
  const lines = text().trimEnd().split('\n')
  t.equal(lines.length, HOSTILE.length)
  t.notMatch(text(), DANGEROUS)
  t.same(lines.map((line) => (JSON.parse(line) as { clientId: string }).clientId), HOSTILE)
  t.ok(lines.every((line) => (JSON.parse(line) as { msg: string }).msg === 'login refused'))
  t.end()
})

t.test('a client id can neither forge a line on a terminal nor move the cursor', async (t) => {
  const { destination, text } = capture()
  const logger = createLogger({ level: 'debug', destination, isPretty: true })
  for (const clientId of HOSTILE) {
    logger.info({ clientId }, 'login refused')
    logger.warn({ err: new Error(clientId, { cause: new Error(clientId) }) }, 'failed')
  }
  await new Promise((resolve) => setTimeout(resolve, 50))
  // eslint-disable-next-line no-control-regex -- the printer's own colours
  t.notMatch(text().replaceAll(/\u001b\[\d+m/g, '').replaceAll('\n', ''), DANGEROUS)
  t.notMatch(text(), /^(?:forged|\{)/m, 'further lines are indented')
  t.end()
})

t.test('the log of an error has its message, code and stack, and none of its details', (t) => {
  const { destination, text } = capture()
  const logger = createLogger({ level: 'debug', destination, isPretty: false })
  const error = Object.assign(new pg.DatabaseError('duplicate key', 1, 'error'), {
    code: '23505',
    detail: 'Key (device)=(band-1)',
    where: 'COPY readings, line 1: "{heartRateValue: 61}"',
    packet: { payload: 'heartRateValue' }
  })
  logger.error({ err: Object.assign(new Error('outer', { cause: error }), { client: { password: 'geheim' } }) }, 'failed')
  const { err } = JSON.parse(text()) as { err: unknown }
  t.match(err, { message: 'outer', stack: /logger\.test/, cause: { message: 'duplicate key', code: '23505' } })
  t.notMatch(text(), /band-1|heartRate|geheim/)
  t.end()
})

t.test('ids are hashed with the operator\'s key', async (t) => {
  const dataDir = await createTestDir(t)
  const { destination, text } = capture()
  const logger = createLogger({ level: 'debug', destination, isPretty: false, hashId: createIdHash(dataDir) })
  logger.info({ clientId: 'band-17', device: 'band-17', principal: 'band-17', actor: 'ann', topic: 'vital/band-17/rejected', other: 1 },
    'x')
  logger.info({ topic: 'ward/band-17' }, 'x')
  logger.child({ clientId: 'band-17' }).info('x')
  t.notMatch(text(), /band-17|ann/)
  const path = join(dataDir, 'log-key')
  t.equal(statSync(path).mode & 0o777, 0o600)
  const hash = createHmac('sha256', Buffer.from(readFileSync(path, 'utf8').trim(), 'hex')).update('band-17').digest('hex').slice(0, 16)
  t.match(JSON.parse(text().split('\n')[0]!), { clientId: hash, device: hash, principal: hash, topic: `vital/${hash}/rejected`, other: 1 })
  t.equal(createIdHash(dataDir)('band-17'), hash, 'the same in the next run')
  t.not(createIdHash(await createTestDir(t))('band-17'), hash, 'another elsewhere')
})

t.test('a gateway under hostile input logs no payload, secret, password or token, and no id where ids are hashed', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const credentials = openCredentials(t, connectionString)
  const secret = await credentials.add('band-1', 'device')
  const dataDir = await createTestDir(t)
  const { destination, text } = capture()
  const logger = createLogger({ level: 'trace', destination, isPretty: false, hashId: createIdHash(dataDir) })
  const config = createConfig({ DATABASE_URL: connectionString, VITAL_DATA_DIR: dataDir, VITAL_MQTT_PORT: '0', VITAL_HTTP_PORT: '0' })
  const gateway = createGateway({ config, logger })
  t.teardown(() => gateway.stop())
  const { mqttPort, httpPort } = await gateway.start()
  const httpUrl = `http://127.0.0.1:${httpPort}`
  const token = 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJiYW5kLTEifQ.c2lnbmF0dXJl'
  t.equal(await tryConnect(mqttPort, login('band-1', secret)), 0)
  for (const password of ['hunter2hunter2', `${secret}x`, token]) {
    t.equal(await tryConnect(mqttPort, login('band-1', password)), 5)
    t.equal((await fetch(`${httpUrl}/vital-data`, { headers: bearer(password) })).status, 401)
  }
  for (const clientId of HOSTILE.filter((id) => !id.includes('\0'))) {
    await tryConnect(mqttPort, login(clientId,
      'hunter2hunter2')).catch(() => {})
  }
  for (const body of [
    '{"device":"band-1","timestamp":1,"heartRateValue":"61.0625"}', 'not 61.0625 json', '{"device":"band-2","timestamp":61.0625}'
  ]) {
    const response = await fetch(`${httpUrl}/vital-data`, {
      method: 'POST', headers: { 'content-type': 'application/json', ...bearer(secret) }, body
    })
    t.ok(response.status >= 400)
    t.notMatch(await response.text(), /\bat .*\.ts|node_modules|61\.0625/, 'no stack in the answer')
  }
  await gateway.stop()
  t.ok(text().split('\n').length > 5)
  t.notMatch(text(), DANGEROUS)
  t.notMatch(text(), /hunter2|vg_|eyJ|61\.0625|band-[12]|forged|gone/)
  for (const line of text().trimEnd().split('\n')) t.doesNotThrow(() => { JSON.parse(line) }, 'every line is complete JSON')
})
