/** Health data and secrets on disk are readable only for the user that runs the gateway, whatever its umask. */
import { lstat, mkdir, readdir } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createConfig } from '../../src/config/config.ts'
import { createGateway } from '../../src/gateway.ts'
import { createDatabaseSwitch } from '../helpers/database-switch.ts'
import { connectClient, startGateway } from '../helpers/gateway.ts'
import { createTestDir } from '../helpers/postgres.ts'

/** Links have no mode of their own, and a socket is protected by its directory. */
async function listOpen (directory: string): Promise<{ open: string[], seen: string[] }> {
  const paths = (await readdir(directory, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() || entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name))
  const open: string[] = []
  for (const path of [directory, ...paths]) {
    // Files of PostgreSQL may disappear meanwhile.
    const mode = await lstat(path).then(({ mode }) => mode & 0o777, () => 0)
    if ((mode & 0o077) !== 0) open.push(`${relative(directory, path)} ${mode.toString(8)}`)
  }
  return { open, seen: paths.map((path) => relative(directory, path)) }
}

function withoutUmask (t: Test): void {
  const before = process.umask(0)
  t.teardown(() => { process.umask(before) })
}

t.test('the spool and the other files of a gateway are private', async (t) => {
  withoutUmask(t)
  const database = await createDatabaseSwitch(t)
  const dataDir = join(await createTestDir(t), 'deeper', 'data')
  const { mqttPort } = await startGateway(t, { DATABASE_URL: database.connectionString, VITAL_DATA_DIR: dataDir })
  const client = await connectClient(t, mqttPort)
  await database.off()
  await client.publishAsync('vital/a', '{"timestamp":1}', { qos: 1 })
  await client.publishAsync('vital/a', 'a dead letter', { qos: 1 })
  const { open, seen } = await listOpen(dataDir)
  t.ok(seen.some((path) => path.startsWith('spool/') && path.endsWith('.spool')), 'readings were spooled')
  t.ok(seen.includes('access.json'))
  t.same(open, [])
  await database.on()
})

t.test('an existing data directory that everyone could read becomes private', async (t) => {
  withoutUmask(t)
  const dataDir = join(await createTestDir(t), 'data')
  await mkdir(join(dataDir, 'spool'), { recursive: true, mode: 0o755 })
  await startGateway(t, { VITAL_DATA_DIR: dataDir })
  t.equal((await lstat(join(dataDir, 'spool'))).mode & 0o777, 0o700)
})

t.test('the embedded PostgreSQL', async (t) => {
  withoutUmask(t)
  const dataDir = await createTestDir(t)
  const config = createConfig({ VITAL_DATA_DIR: dataDir, VITAL_MQTT_PORT: '0', VITAL_HTTP_PORT: '0' })
  const gateway = createGateway({ config, logger: pino({ level: 'silent' }) })
  t.teardown(() => gateway.stop())
  await gateway.start()
  const { open, seen } = await listOpen(dataDir)
  t.ok(seen.includes('database-url'))
  t.ok(seen.some((path) => path.endsWith('PG_VERSION')))
  // Links to the public libraries of the server, for the account that runs it.
  t.same(open.filter((path) => !path.startsWith('postgres-lib ')), [])
})
