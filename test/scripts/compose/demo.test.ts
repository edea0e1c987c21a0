/** The commands of `docker compose --profile demo up`, run without containers. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { startGateway } from '../../helpers/gateway.ts'
import { createTestDatabase, createTestDir } from '../../helpers/postgres.ts'
import { LOADER, ROOT, toProgram } from '../../helpers/program.ts'
import { until } from '../../helpers/until.ts'

interface Service { command: string[], profiles?: string[], volumes: string[], depends_on: Record<string, { condition: string }> }

const compose = parse(await readFile(join(ROOT, 'compose.yaml'), 'utf8'), { merge: true, maxAliasCount: -1 }) as {
  services: Record<'credentials' | 'demo' | 'demo-credentials', Service>
  volumes: Record<string, null>
}

/** Runs the command of a service, with its volumes and its program in `dir`. */
function start (t: Test, dir: string, [program = '', ...args]: readonly string[], connectionString: string): ChildProcess {
  const child = spawn(program, args, {
    cwd: dir,
    stdio: 'ignore',
    env: { ...process.env, PATH: `${dir}:${process.env['PATH']}`, DATABASE_URL: connectionString, VITAL_DATA_DIR: dir }
  })
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  return child
}

t.test('the demo is started only by its profile, and waits for its credentials and the gateway', (t) => {
  const { demo, credentials, 'demo-credentials': maker } = compose.services
  t.strictSame([demo.profiles, maker.profiles, credentials.profiles], [['demo'], ['demo'], undefined])
  t.match(demo.depends_on, {
    gateway: { condition: 'service_healthy' }, 'demo-credentials': { condition: 'service_completed_successfully' }
  })
  t.match(maker.depends_on, { credentials: { condition: 'service_completed_successfully' } })
  t.strictSame([demo.volumes, maker.volumes],
    [['demo-credentials:/var/lib/demo-credentials:ro'], ['demo-credentials:/var/lib/demo-credentials']])
  t.ok('demo-credentials' in compose.volumes)
  t.end()
})

t.test('its commands make credentials and play the recordings beyond their end', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const dir = await createTestDir(t)
  await writeFile(join(dir, 'vital-gateway'),
    `#!/bin/sh\nexec '${process.execPath}' ${LOADER.join(' ')} '${toProgram('scripts/vital-gateway.ts')}' "$@"\n`)
  await chmod(join(dir, 'vital-gateway'), 0o755)
  const script = (await readFile(join(ROOT, 'scripts/compose/credentials.sh'), 'utf8'))
    .replaceAll(/\/var\/lib\/[\w-]+/g, dir).replaceAll('/app/', `${ROOT}/`)
  await writeFile(join(dir, 'credentials.sh'), script)
  const makeCredentials = async (command: string[]) => {
    const [status] = await once(start(t, dir, command, connectionString), 'exit')
    t.equal(status, 0, command.join(' '))
  }
  await makeCredentials(compose.services.credentials.command)
  await makeCredentials(compose.services['demo-credentials'].command)
  const file = await readFile(join(dir, 'devices.csv'), 'utf8')
  t.match(file, /^id,role,secret\nbidmc-13,device,\S+\nbidmc-19,device,\S+\nbidmc-23,device,\S+\n$/)
  await makeCredentials(compose.services['demo-credentials'].command)
  t.equal(await readFile(join(dir, 'devices.csv'), 'utf8'), file, 'a later start changes nothing')
  t.strictSame(await query('select id, role from principals order by id'), [
    { id: 'admin', role: 'admin' }, { id: 'bidmc-13', role: 'device' }, { id: 'bidmc-19', role: 'device' },
    { id: 'bidmc-23', role: 'device' }, { id: 'prometheus', role: 'operator' }
  ])

  const { mqttPort } = await startGateway(t, { DATABASE_URL: connectionString })
  const command = compose.services.demo.command.map((word) =>
    word.replace('mqtt://gateway:1883', `mqtt://127.0.0.1:${mqttPort}`).replace('/var/lib/demo-credentials', dir))
  t.strictSame(command.slice(0, 3), ['vital-gateway', 'play', '--loop'])
  // In real time a recording ends after 80 s.
  const player = start(t, dir, [...command, '--speed', '50'], connectionString)
  await until(async () => {
    const rows = await query('select device from readings group by device having count(*) > 100')
    return rows.length === 3
  })
  const [{ lateS } = {}] = await query<{ lateS: number }>(
    'select extract(epoch from max(received_at - time))::float8 as "lateS" from readings')
  t.ok(lateS! > -1 && lateS! < 60, `readings have times of now: ${lateS} s`)
  player.kill('SIGTERM')
  t.strictSame(await once(player, 'exit'), [0, null], 'docker compose stop')
})
