import { chmod, mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Finding } from '../../../../scripts/operate/doctor/finding.ts'
import { checkDescriptors, checkNode } from '../../../../scripts/operate/doctor/runtime.ts'
import { createConfig } from '../../../../src/config/config.ts'
import { createAuthority } from '../../../helpers/certificates.ts'
import { runCommandLine } from '../../../helpers/command-line.ts'
import { exactly } from '../../../helpers/exactly.ts'
import { startGateway } from '../../../helpers/gateway.ts'
import { NO_PGBOUNCER, startPgBouncer } from '../../../helpers/pgbouncer.ts'
import { createTestDatabase, createTestDir } from '../../../helpers/postgres.ts'

const FREE_PORTS = { VITAL_MQTT_PORT: '0', VITAL_HTTP_PORT: '0', VITAL_MQTTS_PORT: '0', VITAL_CONNECTIONS_MAX: '100' }

async function examine (variables: Readonly<Record<string, string>>) {
  const { status, stdout } = await runCommandLine(['doctor', '--json'], { ...FREE_PORTS, ...variables })
  const { findings } = JSON.parse(stdout) as { findings: Finding[] }
  return { status, findings, find: (check: string) => findings.filter((finding) => finding.check === check) }
}

/** Every path below a directory, with size and mode. */
async function listPaths (directory: string): Promise<string[]> {
  const paths = (await readdir(directory, { recursive: true })).sort()
  return await Promise.all(paths.map(async (path) => {
    const { size, mode } = await stat(join(directory, path))
    return `${path} ${mode.toString(8)} ${size}`
  }))
}

async function open (t: Test) {
  const { connectionString, query } = await createTestDatabase(t)
  const dir = join(await createTestDir(t), 'data')
  await mkdir(dir, { mode: 0o700 })
  return { query, dir, variables: { DATABASE_URL: connectionString, VITAL_DATA_DIR: dir } }
}

t.test('a healthy gateway passes, running and stopped, and nothing is changed', async (t) => {
  const { dir, variables } = await open(t)
  const before = await examine(variables)
  t.equal(before.status, 0)
  t.strictSame(before.findings.filter(({ status }) => status !== 'ok' && status !== 'warn'), [])
  t.strictSame(await readdir(dir), [])
  const { httpPort, mqttPort, stop } = await startGateway(t, variables)
  const paths = await listPaths(dir)
  const ports = { VITAL_MQTT_PORT: String(mqttPort), VITAL_HTTP_PORT: String(httpPort) }
  const running = await examine({ ...variables, ...ports })
  t.equal(running.status, 0, JSON.stringify(running.findings, null, 1))
  t.match(running.find('database'), exactly({ status: 'ok', text: /^PostgreSQL \d+.* of DATABASE_URL, UTF8$/ }))
  t.match(running.find('durability'), exactly({ text: /fsync/ }))
  t.match(running.find('encryption'), exactly({ status: 'ok', text: 'none needed: 127.0.0.1' }))
  t.match(running.find('pooler'), exactly({ status: 'ok', text: /^none/ }))
  t.match(running.find('clock'), exactly({ status: 'ok', text: /^-?0\.\d+ s between/ }))
  t.match(running.find('schema'), exactly({ status: 'ok', text: 'its tables are there' }))
  t.match(running.find('data directory'), exactly({ status: 'ok', text: /mode 700$/ }))
  t.match(running.find('disk sync'), exactly({ text: /fdatasync take \d/ }))
  t.match(running.find('spool'), exactly({ status: 'ok' }))
  t.match(running.find('descriptors'), exactly({ status: 'ok', text: /VITAL_CONNECTIONS_MAX=100$/ }))
  t.match(running.find(`port ${mqttPort}`),
    exactly({ status: 'ok', text: new RegExp(`is held by the gateway of this data directory \\(process ${process.pid}\\)`) }))
  t.match(running.find(`port ${httpPort}`), exactly({ status: 'ok', text: /is held by the gateway/ }))
  t.match(running.find('access'), exactly({ status: 'ok', text: /only this machine reaches/ }))
  t.strictSame(await listPaths(dir), paths)
  await stop()
  const stopped = await examine({ ...variables, ...ports })
  t.equal(stopped.status, 0)
  t.match(stopped.find(`port ${httpPort}`), exactly({ status: 'ok', text: /is free$/ }))
})

t.test('each finding is printed as one line', async (t) => {
  const { variables } = await open(t)
  const { status, stdout, stderr } = await runCommandLine(['doctor'], { ...FREE_PORTS, ...variables, VITAL_DATA_DIR: '/proc/1/x/y' })
  t.equal(status, 1)
  t.equal(stderr, '')
  const lines = stdout.trimEnd().split('\n')
  for (const line of lines) t.match(line, /^(?:ok {2}|warn|FAIL) {2}[a-z]+/)
  t.match(stdout, /^FAIL {2}data directory {2}\/proc\/1\/x\/y .*: .*VITAL_DATA_DIR/m)
})

t.test('every error of the environment at once', async (t) => {
  const { status, findings } = await examine({
    VITAL_MQTT_PROT: '1',
    VITAL_HTTP_PORT: 'x',
    VITAL_ACK_TIMEOUT_MS: '5s',
    VITAL_TLS_CERT_FILE: 'a',
    VITAL_PROXY_PROTOCOL: 'true',
    DATABASE_URL: 'mysql://x'
  })
  t.equal(status, 1)
  const texts = findings.filter((finding) => finding.status === 'FAIL').map(({ text }) => text)
  t.equal(texts.length, 6, texts.join('\n'))
  for (const name of [
    'VITAL_MQTT_PROT', 'VITAL_HTTP_PORT', 'VITAL_ACK_TIMEOUT_MS', 'VITAL_TLS_CERT_FILE', 'VITAL_PROXY_PROTOCOL', 'DATABASE_URL'
  ]) {
    t.ok(texts.some((text) => text.includes(name)), name)
  }
  t.strictSame(new Set(findings.map(({ check }) => check)), new Set(['node', 'configuration']))
})

t.test('PostgreSQL', async (t) => {
  const { variables, query } = await open(t)
  t.match(await examine({ ...variables, DATABASE_URL: 'postgres://vital:hunter2@127.0.0.1:1/vital' }).then(({ find }) => find('database')),
    exactly({ status: 'FAIL', text: /^PostgreSQL of DATABASE_URL does not answer: .*ECONNREFUSED/, advice: /start it/ }))
  const wrong = new URL(variables.DATABASE_URL)
  wrong.pathname = '/nowhere'
  t.match((await examine({ ...variables, DATABASE_URL: wrong.href })).find('database'),
    exactly({ status: 'FAIL', text: /"nowhere" does not exist/ }))
  await query('create database doctor_ascii encoding \'SQL_ASCII\' locale \'C\' template template0')
  t.teardown(() => query('drop database doctor_ascii with (force)'))
  wrong.pathname = '/doctor_ascii'
  t.match((await examine({ ...variables, DATABASE_URL: wrong.href })).find('database'),
    exactly({ status: 'FAIL', text: /is encoded in SQL_ASCII/ }))
  await query('insert into vital_migrations values (\'999-later\', \'2026-01-01\')')
  const newer = await examine(variables)
  t.equal(newer.status, 1)
  t.match(newer.find('schema'), exactly({ status: 'FAIL', text: /migrated by a newer vital-gateway/ }))
})

t.test('a pooler', { skip: NO_PGBOUNCER }, async (t) => {
  const { variables } = await open(t)
  const url = await startPgBouncer(t, variables.DATABASE_URL, 3)
  t.match((await examine({ ...variables, DATABASE_URL: url })).find('pooler'), exactly({ status: 'ok', text: /^there is one/ }))
})

t.test('ports', async (t) => {
  const { variables } = await open(t)
  const server = createServer().listen(0, '127.0.0.1')
  t.teardown(() => { server.close() })
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  t.match((await examine({ ...variables, VITAL_MQTT_PORT: String(port) })).find(`port ${port}`),
    exactly({ status: 'FAIL', text: new RegExp(`VITAL_MQTT_PORT=${port} is in use`) }))
  t.match((await examine({ ...variables, VITAL_HOST: '192.0.2.1', VITAL_HTTP_PORT: String(port) })).find(`port ${port}`),
    exactly({ status: 'FAIL', text: /is not an address of this machine/ }))
})

t.test('certificates', async (t) => {
  const { variables } = await open(t)
  const authority = await createAuthority(t)
  const good = await authority.issueServer({ days: 90 })
  const soon = await authority.issueServer({ days: 3 })
  const expired = await authority.issueServer({ days: -1 })
  const look = async (cert: string, key: string) => (await examine({
    ...variables, VITAL_TLS_CERT_FILE: cert, VITAL_TLS_KEY_FILE: key
  })).find('certificates')
  t.match(await look(good.cert, good.key), exactly({ status: 'ok', text: /good for (?:89|90) more days/ }))
  t.match(await look(soon.cert, soon.key), exactly({ status: 'warn', text: /good for [23] more days/, advice: /SIGHUP/ }))
  t.match(await look(expired.cert, expired.key), exactly({ status: 'FAIL', text: /expired on/ }))
  t.match(await look(good.cert, soon.key), exactly({ status: 'FAIL', text: /is not that of the first certificate/ }))
  t.match(await look(`${good.cert}.none`, good.key), exactly({ status: 'FAIL', text: /cannot be read/ }))
  await chmod(good.key, 0o644)
  t.match(await look(good.cert, good.key), exactly({ status: 'ok' }, { status: 'warn', text: /may read the private key/ }))
})

t.test('keys of tokens', async (t) => {
  const { variables, dir } = await open(t)
  const file = join(dir, 'jwks.json')
  const tokens = { ...variables, VITAL_JWT_JWKS: file, VITAL_JWT_ISSUER: 'i', VITAL_JWT_AUDIENCE: 'a' }
  t.match((await examine(tokens)).find('token keys'), exactly({ status: 'FAIL', text: /ENOENT/ }))
  await writeFile(file, '{"keys":[]}')
  t.match((await examine(tokens)).find('token keys'), exactly({ status: 'ok' }))
  t.match((await examine({ ...tokens, VITAL_JWT_JWKS: 'http://127.0.0.1:1/keys' })).find('token keys'), exactly({ status: 'FAIL' }))
})

t.test('a gateway that listens beyond loopback', async (t) => {
  const { variables } = await open(t)
  const exposed = { ...variables, VITAL_HOST: '0.0.0.0' }
  const open_ = await examine(exposed)
  t.equal(open_.status, 1)
  t.match(open_.find('access'), exactly({ status: 'FAIL', text: /VITAL_ALLOW_ANONYMOUS=true/ }))
  t.match(open_.find('configuration'), exactly({ status: 'ok' }, { status: 'warn', text: /unencrypted/ }))
  t.match((await examine({ ...exposed, VITAL_ALLOW_ANONYMOUS: 'true' })).find('access'), exactly({ status: 'warn' }))
  await runCommandLine(['credentials', 'add', 'ann', '--role', 'admin'], variables)
  t.match((await examine(exposed)).find('access'), exactly({ status: 'ok', text: 'every client needs a credential' }))
  t.match((await examine({ ...exposed, DATABASE_URL: 'postgres://127.0.0.1:1/x' })).find('access'),
    exactly({ status: 'warn', text: /it is unknown whether/ }))
})

t.test('the data directory', async (t) => {
  const { variables, dir } = await open(t)
  await chmod(dir, 0o755)
  t.match((await examine(variables)).find('data directory'), exactly({ status: 'warn', text: /mode 755/, advice: `chmod go-rw ${dir}` }))
  await mkdir(join(dir, 'spool'))
  await writeFile(join(dir, 'spool', '0001.spool.damaged'), '')
  t.match((await examine(variables)).find('spool'), exactly({ status: 'warn', text: /1 files .* were damaged/ }))
  const file = join(dir, 'file')
  await writeFile(file, '')
  t.match((await examine({ ...variables, VITAL_DATA_DIR: file })).find('data directory'),
    exactly({ status: 'FAIL', text: /is not a directory/ }))
  t.match((await examine({ ...variables, VITAL_DATA_DIR: join(file, 'below') })).find('data directory'), exactly({ status: 'FAIL' }))
  t.match((await examine({ ...variables, VITAL_SPOOL_BYTES_MAX: String(2 ** 40) })).find('disk space'),
    exactly({ status: 'warn', advice: /lower VITAL_SPOOL_BYTES_MAX/ }))
})

t.test('open files and Node.js', (t) => {
  const config = createConfig({})
  t.match(checkDescriptors(config, 100), { status: 'FAIL', text: /^this process may open 100 files/ })
  t.match(checkDescriptors(config, 1024), { status: 'warn', text: /of 1024 open files/ })
  t.match(checkDescriptors(config, Infinity), { status: 'ok' })
  t.match(checkNode('18.20.8'), { status: 'FAIL', text: /needs Node\.js 20\.19/ })
  t.end()
})
