import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { open, readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { readManifest } from '../../../../scripts/operate/backup/manifest.ts'
import { connectClient } from '../../../helpers/gateway.ts'
import { createTestDir } from '../../../helpers/postgres.ts'
import { startEmbeddedGateway } from './embedded-gateway.ts'
import { runOperated } from '../../../helpers/operator.ts'
import { LOADER, toProgram } from '../../../helpers/program.ts'
import { until } from '../../../helpers/until.ts'

const SLOTS = 'select slot_name from pg_replication_slots'

t.test('a running gateway', { timeout: 240_000 }, async (t) => {
  const dir = await createTestDir(t)
  const dataDir = join(dir, 'data')
  const variables = { VITAL_DATA_DIR: dataDir }
  const gateway = await startEmbeddedGateway(t, dataDir)
  const client = await connectClient(t, gateway.mqttPort)
  for (const device of ['a', 'b']) {
    for (const timestamp of [1, 2, 3]) await client.publishAsync(`vital/${device}`, JSON.stringify({ timestamp }), { qos: 1 })
    await client.publishAsync(`vital/${device}`, 'a dead letter', { qos: 1 })
  }

  await t.test('killed in the middle: no backup, no slot, and the next run takes its place', async (t) => {
    const to = join(dir, 'killed')
    const child = spawn(process.execPath, [...LOADER, toProgram('scripts/vital-gateway.ts'), 'backup', '--to', to],
      { cwd: dir, env: { PATH: process.env['PATH'], ...variables }, stdio: 'ignore' })
    t.teardown(() => { child.kill('SIGKILL') })
    while (!existsSync(join(`${to}.partial`, 'postgres', 'PG_VERSION')) && child.exitCode === null) await sleep(1)
    t.ok((await gateway.query(SLOTS)).length > 0 || child.exitCode !== null, 'there was a slot')
    child.kill('SIGKILL')
    await until(async () => (await gateway.query(SLOTS)).length === 0, 'the slot to be gone')
    t.notOk(existsSync(to))
    t.ok(existsSync(`${to}.partial`))
    t.match(await runOperated('backup', ['verify', `${to}.partial`], {}), { status: 1, stderr: /is not a backup/ })
    t.match(await runOperated('backup', ['--to', to], variables), { status: 0, stdout: /^readings +6 /m })
    t.notOk(existsSync(`${to}.partial`))
    t.match(await runOperated('backup', ['verify', to], {}), { status: 0 })
  })

  await t.test('ended by SIGTERM: nothing is left', async (t) => {
    const to = join(dir, 'ended')
    const child = spawn(process.execPath, [...LOADER, toProgram('scripts/vital-gateway.ts'), 'backup', '--to', to],
      { cwd: dir, env: { PATH: process.env['PATH'], ...variables }, stdio: 'ignore' })
    const status = new Promise((resolve) => child.once('close', resolve))
    while (!existsSync(join(`${to}.partial`, 'postgres', 'PG_VERSION')) && child.exitCode === null) await sleep(1)
    child.kill('SIGTERM')
    t.equal(await status, 1)
    t.same((await readdir(dir)).filter((name) => name.startsWith('ended')), [])
    t.same(await gateway.query(SLOTS), [])
  })

  const backup = join(dir, 'backup')
  t.match(await runOperated('backup', ['--to', backup], variables), { status: 0 })

  await t.test('a backup that cannot be made is refused with the reason', async (t) => {
    t.match(await runOperated('backup', ['--to', backup], variables), { status: 2, stderr: /exists already/ })
    t.match(await runOperated('backup', ['--to', join(dataDir, 'backup')], variables), { status: 2, stderr: /is in the data directory/ })
    t.match(await runOperated('backup', ['--to', join(dir, 'x')], { DATABASE_URL: gateway.connectionString }), {
      status: 1, stderr: /scripts\/operate\/README/
    })
    t.match(await runOperated('backup', ['--to', join(dir, 'x')], { VITAL_DATA_DIR: join(dir, 'nowhere') }), {
      status: 1, stderr: /is not the data directory/
    })
    t.notOk(existsSync(join(dir, 'nowhere')))
    t.match(await runOperated('backup', [], {}), { status: 2, stderr: /--to DIR/ })
    t.match(await runOperated('backup', ['check', backup], {}), { status: 2 })
    t.match(await runOperated('restore', ['--to', dir], {}), { status: 2, stderr: /required option '--from <dir>'/ })
    t.match(await runOperated('restore', ['--from', backup], {}), { status: 2, stderr: /required option '--to <dir>'/ })
    t.match(await runOperated('restore', ['--from', backup, '--to', dataDir, '--no-erasures'], {}), { status: 2, stderr: /is not empty/ })
    t.match(await runOperated('restore', ['--from', backup, '--to', join(dir, 'x')], {}), {
      status: 2, stderr: /say what was erased since/
    })
    for (const script of ['backup', 'restore']) {
      t.match(await runOperated(script, ['--help'], {}), {
        status: 0, stdout: /vital-gateway (backup|restore) --/
      })
    }
  })

  await t.test('a flipped byte, a missing file, and a damaged manifest are found', async (t) => {
    const { files } = await readManifest(backup)
    const { path } = files.find(({ path, bytes }) => path.startsWith('postgres/base/') && bytes > 8192)!
    const flip = async (file: string, offset: number) => {
      const handle = await open(file, 'r+')
      const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, offset)
      await handle.write(Buffer.from([buffer[0]! ^ 1]), 0, 1, offset)
      await handle.close()
    }
    await flip(join(backup, path), 5000)
    t.match(await runOperated('backup', ['verify', backup], {}), { status: 1, stderr: new RegExp(`${path} differs`) })
    t.match(await runOperated('restore', ['--from', backup, '--to', join(dir, 'x'), '--no-erasures'], {}), {
      status: 1, stderr: /is damaged/
    })
    t.same(await readdir(join(dir, 'x')), [], 'no partial restore is left')
    await flip(join(backup, path), 5000)
    await rename(join(backup, path), join(dir, 'aside'))
    t.match(await runOperated('backup', ['verify', backup], {}), { status: 1, stderr: new RegExp(`${path} is missing`) })
    await rename(join(dir, 'aside'), join(backup, path))
    await flip(join(backup, 'manifest.json'), 300)
    t.match(await runOperated('backup', ['verify', backup], {}), { status: 1, stderr: /manifest.json is damaged/ })
    await flip(join(backup, 'manifest.json'), 300)
    t.match(await runOperated('backup', ['verify', backup], {}), { status: 0, stdout: /is whole/ })
  })
})
