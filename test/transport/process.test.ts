import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { connect as connectTls } from 'node:tls'
import t, { type Test } from 'tap'
import { createConfig } from '../../src/config/config.ts'
import { ConfigError } from '../../src/config/config-error.ts'
import { exactly } from '../helpers/exactly.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { LOADER, toProgram } from '../helpers/program.ts'
import { createAuthority } from '../helpers/certificates.ts'

/** Shared by all tests here, because making one takes a dozen processes. */
const sharedAuthority = createAuthority(t)

interface Line { readonly msg: string, readonly protocol?: string, readonly port?: number, readonly address?: string }

/** The gateway as a process of its own, from its sources. */
async function spawnGateway (t: Test, variables: Record<string, string>) {
  const child: ChildProcess = spawn(process.execPath, [...LOADER, toProgram('src/main.ts')], {
    env: {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      DATABASE_URL: (await createTestDatabase(t)).connectionString,
      VITAL_DATA_DIR: await createTestDir(t),
      VITAL_MQTT_PORT: '0',
      VITAL_MQTTS_PORT: '0',
      VITAL_HTTP_PORT: '0',
      ...variables
    },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await exited
  })
  const lines: Line[] = []
  let stderr = ''
  child.stderr?.on('data', (chunk: Buffer) => { stderr += chunk.toString() })
  const waiting: Array<() => void> = []
  createInterface({ input: child.stdout! }).on('line', (text) => {
    lines.push(JSON.parse(text) as Line)
    for (const wake of waiting.splice(0)) wake()
  })
  const said = async (pattern: RegExp): Promise<Line> => {
    for (;;) {
      const line = lines.find(({ msg }) => pattern.test(msg))
      if (line !== undefined) return line
      await Promise.race([
        new Promise<void>((resolve) => { waiting.push(resolve) }),
        exited.then(() => { throw new Error(`ended before it said ${pattern}: ${stderr}`) })
      ])
    }
  }
  return { child, exited, lines, said, stderr: () => stderr }
}

t.test('each listener is logged; SIGHUP reads a renewed certificate; SIGTERM ends the process', async (t) => {
  const authority = await sharedAuthority
  const { cert, key } = await authority.issueServer()
  const ca = await readFile(authority.ca)
  const { child, exited, lines, said } = await spawnGateway(t, {
    VITAL_TLS_CERT_FILE: cert, VITAL_TLS_KEY_FILE: key, VITAL_ADMIN_PORT: '0'
  })
  await said(/^ready$/)
  const listening = lines.filter(({ msg }) => msg === 'listening')
  t.match(listening, ['mqtt', 'mqtts', 'https', 'http'].map((protocol) => ({ protocol, address: '127.0.0.1', port: Number })))
  const { port } = listening.find(({ protocol }) => protocol === 'mqtts')!
  const serial = async () => {
    const socket = connectTls({ port: port!, host: '127.0.0.1', ca })
    await once(socket, 'secureConnect')
    const { serialNumber } = socket.getPeerCertificate()
    socket.destroy()
    return serialNumber
  }
  const before = await serial()
  const renewed = await authority.issueServer()
  await copyFile(renewed.key, key)
  child.kill('SIGHUP')
  await said(/the old ones stay/)
  t.equal(await serial(), before)
  await copyFile(renewed.cert, cert)
  child.kill('SIGHUP')
  await said(/^certificates renewed$/)
  t.not(await serial(), before)
  child.kill('SIGTERM')
  t.same(await exited, [0, null])
})

t.test('without certificates SIGHUP does not end the process', async (t) => {
  const { child, exited, said } = await spawnGateway(t, {})
  await said(/^ready$/)
  child.kill('SIGHUP')
  await said(/^SIGHUP/)
  child.kill('SIGTERM')
  t.same(await exited, [0, null])
})

t.test('a fault in the configuration of transport is one message without a stack trace', async (t) => {
  const authority = await sharedAuthority
  const { cert, key } = await authority.issueServer()
  const cases: Array<[Record<string, string>, RegExp]> = [
    [{ VITAL_TLS_CERT_FILE: cert }, /must be set together/],
    [{ VITAL_TLS_KEY_FILE: key }, /must be set together/],
    [{ VITAL_TLS_CLIENT_CA_FILE: authority.ca }, /VITAL_TLS_CLIENT_CA_FILE needs/],
    [{
      VITAL_TLS_CERT_FILE: cert, VITAL_TLS_KEY_FILE: key, VITAL_TLS_CLIENT_CERT_REQUIRED: 'true'
    }, /VITAL_TLS_CLIENT_CERT_REQUIRED=true needs VITAL_TLS_CLIENT_CA_FILE/],
    [{ VITAL_TRUSTED_PROXIES: '10.0.0.0/8, everyone' }, /VITAL_TRUSTED_PROXIES: "everyone" is neither/],
    [{ VITAL_PROXY_PROTOCOL: 'true' }, /VITAL_PROXY_PROTOCOL=true needs VITAL_TRUSTED_PROXIES/],
    [{ VITAL_WS_ORIGINS: 'https://ward.example.org, *' }, /VITAL_WS_ORIGINS: "\*" is not an origin/],
    [{ VITAL_WS_ORIGINS: 'https://ward.example.org/path' }, /is not an origin/],
    [{ VITAL_ADMIN_HOST: '0.0.0.0' }, /VITAL_ADMIN_HOST needs VITAL_ADMIN_PORT/]
  ]
  for (const [variables, message] of cases) t.throws(() => createConfig(variables), { constructor: ConfigError, message })
  t.match(createConfig({ VITAL_WS_ORIGINS: 'https://ward.example.org:443, http://a:8080/' }).transport.webSocketOrigins,
    exactly('https://ward.example.org', 'http://a:8080'))

  const { exited, stderr } = await spawnGateway(t, { VITAL_TLS_CERT_FILE: cert, VITAL_TLS_KEY_FILE: '/nowhere.key' })
  t.same(await exited, [1, null])
  t.match(stderr(), /VITAL_TLS_KEY_FILE=\/nowhere\.key cannot be read/)
  t.notMatch(stderr(), /\n {4}at /, 'no stack trace for a mistake of the operator')
})
