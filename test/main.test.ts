import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { exactly } from './helpers/exactly.ts'
import { createTestDatabase, createTestDir } from './helpers/postgres.ts'
import { LOADER, toProgram } from './helpers/program.ts'

interface Line { readonly msg?: string, readonly protocol?: string, readonly port?: number, readonly address?: string }

/** The gateway as a process of its own, as `npm start` runs it, but from its sources. */
async function spawnGateway (t: Test, variables: Record<string, string>) {
  const dataDir = await createTestDir(t)
  const child: ChildProcess = spawn(process.execPath, [...LOADER, toProgram('src/main.ts')], {
    env: {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      VITAL_DATA_DIR: dataDir,
      VITAL_MQTT_PORT: '0',
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
  const ready = new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stdout! }).on('line', (text) => {
      const line = JSON.parse(text) as Line
      lines.push(line)
      if (line.msg === 'ready') resolve()
    })
    exited.then(() => reject(new Error(`ended before it was ready: ${stderr}`)), reject)
  })
  ready.catch(() => {})
  return { child, exited, ready, lines, stderr: () => stderr }
}

t.test('an invalid environment stops the start with a message that names every fault', async (t) => {
  const cases: Array<[Record<string, string>, RegExp]> = [
    [{ VITAL_MQTT_PROT: '1883' }, /VITAL_MQTT_PROT is not a known name/],
    [{
      VITAL_ACK_TIMEOUT_MS: '5s', VITAL_HTTP_PORT: '70000'
    }, /VITAL_HTTP_PORT[^]*VITAL_ACK_TIMEOUT_MS|VITAL_ACK_TIMEOUT_MS[^]*VITAL_HTTP_PORT/],
    [{ VITAL_ALLOW_ANONYMOUS: 'yes' }, /VITAL_ALLOW_ANONYMOUS must be true or false/],
    [{ VITAL_LOG_LEVEL: 'loud' }, /VITAL_LOG_LEVEL must be one of fatal, error/],
    [{
      VITAL_HOST: '0.0.0.0', DATABASE_URL: (await createTestDatabase(t)).connectionString
    }, /VITAL_HOST=0\.0\.0\.0[^]*VITAL_ALLOW_ANONYMOUS=true/]
  ]
  await Promise.all(cases.map(async ([variables, message]) => {
    const { exited, stderr } = await spawnGateway(t, { DATABASE_URL: 'postgres://nobody@127.0.0.1:1/x', ...variables })
    const [code] = await exited
    t.equal(code, 1, JSON.stringify(variables))
    t.match(stderr(), message)
    t.notMatch(stderr(), /\n {4}at /, 'no stack trace for a mistake of the operator')
  }))
})

t.test('the gateway listens, logs ready, and ends with 0 after SIGTERM or SIGINT', async (t) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const { connectionString } = await createTestDatabase(t)
    const { child, exited, ready, lines } = await spawnGateway(t, { DATABASE_URL: connectionString })
    await ready
    t.match(lines.filter(({ msg }) => msg === 'listening'), exactly(
      { protocol: 'mqtt', address: '127.0.0.1', port: Number },
      { protocol: 'http', address: '127.0.0.1', port: Number }
    ))
    child.kill(signal)
    t.same(await exited, [0, null], signal)
    t.equal(lines.at(-1)?.msg, 'stopped')
  }
})

t.test('a database that refuses the login stops the start, because waiting does not correct DATABASE_URL', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  for (const [part, value] of [['password', 'wrong'], ['pathname', '/nowhere']] as const) {
    const url = new URL(connectionString)
    url[part] = value
    const { exited, stderr } = await spawnGateway(t, { DATABASE_URL: url.href })
    t.same(await exited, [1, null])
    t.match(stderr(), /^DATABASE_URL: PostgreSQL refuses .*(?:password authentication failed|"nowhere" does not exist).*\n$/)
  }
})

t.test('a taken port stops the start with a message that names it', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const first = await spawnGateway(t, { DATABASE_URL: connectionString })
  await first.ready
  const port = first.lines.find(({ protocol }) => protocol === 'mqtt')?.port
  const second = await spawnGateway(t, { DATABASE_URL: connectionString, VITAL_MQTT_PORT: String(port) })
  await second.ready.catch(() => {})
  t.same(await second.exited, [1, null])
  t.match(second.stderr(), new RegExp(`^VITAL_MQTT_PORT=${port} is in use \\(EADDRINUSE\\): .*\\n$`))
})
