import { existsSync } from 'node:fs'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { toSettings } from '../../db/embedded/settings.ts'
import { fitConnections, toDescriptorRefusal } from '../../src/process/descriptors.ts'
import { exactly } from '../helpers/exactly.ts'
import { spawnGateway } from '../helpers/gateway-process.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'

const limited = (descriptors: number) => ({ through: ['bash', '-c', `ulimit -n ${descriptors}; exec "$@"`, 'bash'] })

t.test('a start with too few open files is refused', async (t) => {
  t.equal(toDescriptorRefusal(512), null)
  const gateway = await spawnGateway(t, {}, limited(256))
  t.same(await gateway.exited, [1, null])
  t.match(gateway.stderr(), /^vital-gateway: this process may open 256 files, and needs 512 .*ulimit -n 65536.*\n$/)
})

t.test('connections are bounded by the open files that are left', (t) => {
  const own = { databaseConnectionsMax: 10, httpConnectionsMax: 4096, grpcConnectionsMax: 0, warnings: [] }
  const config = { brokerLimits: { connectionsMax: 20_000 }, ...own }
  t.equal(fitConnections(config, 65_536), config)
  t.equal(fitConnections(config, Infinity), config)
  const { brokerLimits, httpConnectionsMax, warnings } = fitConnections(config, 512)
  t.ok(brokerLimits.connectionsMax + httpConnectionsMax <= 512 - 80)
  t.ok(httpConnectionsMax >= 32)
  t.match(warnings, exactly(/of 512 open files.* fewer than VITAL_CONNECTIONS_MAX=20000/))
  t.strictSame(fitConnections({ ...config, brokerLimits: { connectionsMax: 100 } }, 512).warnings, [])
  const withGrpc = fitConnections({ ...config, grpcConnectionsMax: 4096 }, 512)
  t.ok(withGrpc.grpcConnectionsMax >= 32)
  t.ok(withGrpc.brokerLimits.connectionsMax + withGrpc.httpConnectionsMax + withGrpc.grpcConnectionsMax <= 512 - 80)
  t.end()
})

t.test('512 open files and 600 clients: health and metrics answer, and the log names the limit', { timeout: 120_000 }, async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const gateway = await spawnGateway(t, { DATABASE_URL: connectionString }, limited(512))
  await gateway.said(/of 512 open files/)
  await gateway.said(/^ready$/)
  const portOf = (protocol: string) => gateway.lines.find((line) => line.protocol === protocol)!.port!
  const sockets = Array.from({ length: 600 }, () => connect(portOf('mqtt'), '127.0.0.1').on('error', () => {}))
  t.teardown(() => { for (const socket of sockets) socket.destroy() })
  await gateway.said(/too many connections/)
  for (let round = 0; round < 5; round++) {
    const ready = await fetch(`http://127.0.0.1:${portOf('http')}/health/ready`)
    t.equal(ready.status, 200)
    t.match((await ready.json() as { warnings: string[] }).warnings, exactly(/of 512 open files/))
    await sleep(50)
  }
  t.match(await (await fetch(`http://127.0.0.1:${portOf('http')}/metrics`)).text(),
    /^vital_mqtt_limit_hits_total\{limit="connections"\} [1-9]/m)
  const stored = await fetch(`http://127.0.0.1:${portOf('http')}/vital-data`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"device":"a","timestamp":1}'
  })
  t.equal(stored.status, 202)
})

t.test('an error at the start is one line that names the variable', { timeout: 120_000 }, async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const dir = await createTestDir(t)
  await writeFile(join(dir, 'file'), '')
  await mkdir(join(dir, 'locked'))
  await chmod(join(dir, 'locked'), 0o500)
  const cases: Array<[Record<string, string>, RegExp]> = [
    [{ VITAL_DATA_DIR: join(dir, 'file') }, /^VITAL_DATA_DIR=\S+ is not a directory.*set VITAL_DATA_DIR.*\n$/],
    [{ VITAL_DATA_DIR: join(dir, 'file/below') }, /^VITAL_DATA_DIR=\S+ is not a directory.*\n$/],
    [{ VITAL_DATA_DIR: join(dir, 'file'), VITAL_LOG_HASH_IDS: 'true' }, /^VITAL_DATA_DIR=\S+ is not a directory.*\n$/],
    [{ VITAL_HOST: '192.0.2.1', VITAL_ALLOW_ANONYMOUS: 'true' }, /^VITAL_HOST is not an address of this machine \(EADDRNOTAVAIL\).*\n$/]
  ]
  // Linux refuses a directory here as if its parent were missing.
  if (existsSync('/proc/self')) {
    const message = /^VITAL_DATA_DIR=\/proc\/x\/y lies where no directory can be made \(\/proc\/x\).*set VITAL_DATA_DIR.*\n$/
    cases.push([{ VITAL_DATA_DIR: '/proc/x/y' }, message], [{ VITAL_DATA_DIR: '/proc/x/y', VITAL_LOG_HASH_IDS: 'true' }, message])
  }
  // Root may write everywhere.
  if (process.getuid?.() !== 0) cases.push([{ VITAL_DATA_DIR: join(dir, 'locked/data') }, /^VITAL_DATA_DIR=\S+ may not be written.*\n$/])
  await Promise.all(cases.map(async ([variables, message]) => {
    const gateway = await spawnGateway(t, { DATABASE_URL: connectionString, ...variables })
    t.same(await gateway.exited, [1, null])
    t.match(gateway.stderr(), message)
  }))
})

t.test('the embedded PostgreSQL takes an eighth of the available memory', (t) => {
  t.match(toSettings(1024 ** 3), /^shared_buffers = 128MB$/m)
  t.match(toSettings(256 * 1024 ** 2), /^shared_buffers = 64MB$/m)
  t.match(toSettings(64 * 1024 ** 3), /^shared_buffers = 1024MB$/m)
  t.end()
})
