/** Two gateways on one database behind nginx, with the shipped file. */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connectAsync } from 'mqtt'
import t from 'tap'
import { freePort } from '../../helpers/free-port.ts'
import { startGateway } from '../../helpers/gateway.ts'
import { createTestDatabase, createTestDir } from '../../helpers/postgres.ts'
import { ROOT } from '../../helpers/program.ts'
import { until } from '../../helpers/until.ts'

const PATH = `${process.env['PATH']}:/usr/sbin`
const isInstalled = spawnSync('nginx', ['-v'], { env: { PATH } }).status === 0 &&
  (await readFile('/etc/nginx/modules-enabled/50-mod-stream.conf').catch(() => null)) !== null
const skip = isInstalled
  ? process.getuid?.() === 0 ? false : 'Debian\'s nginx writes below /var/lib/nginx, which this account may not'
  : 'nginx is not installed (apt-get install nginx libnginx-mod-stream)'

t.test('MQTT, HTTP and WebSocket pass nginx, and a stopped gateway is skipped', { skip }, async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const variables = { DATABASE_URL: connectionString, VITAL_TRUSTED_PROXIES: '127.0.0.1', VITAL_PROXY_PROTOCOL: 'true' }
  const gateways = [await startGateway(t, variables), await startGateway(t, variables)] as const
  const dir = await createTestDir(t)
  const [mqttPort, httpPort] = [await freePort(), await freePort()]
  let file = await readFile(join(ROOT, 'scripts/compose/nginx/nginx.conf'), 'utf8')
  for (const [shipped, own] of [
    ['1883', mqttPort], ['1884', gateways[0].mqttPort], ['1885', gateways[1].mqttPort],
    ['3000', httpPort], ['3001', gateways[0].httpPort], ['3002', gateways[1].httpPort]
  ] as const) {
    t.match(file, `127.0.0.1:${shipped}`)
    file = file.replaceAll(`127.0.0.1:${shipped}`, `127.0.0.1:${own}`)
  }
  await writeFile(join(dir, 'nginx.conf'), file)
  const args = ['-e', join(dir, 'error.log'), '-c', join(dir, 'nginx.conf'), '-g', `daemon off; pid ${join(dir, 'nginx.pid')};`]
  execFileSync('nginx', ['-t', '-q', ...args], { env: { PATH } })
  const child = spawn('nginx', args, { env: { PATH }, stdio: 'ignore' })
  const exited = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGTERM')
    await exited
  })
  await until(async () => (await fetch(`http://127.0.0.1:${httpPort}/health/ready`)).ok)

  const urls = [`mqtt://127.0.0.1:${mqttPort}`, `ws://127.0.0.1:${httpPort}/mqtt`]
  const publishAll = async (name: string) => {
    for (const [index, url] of urls.entries()) {
      const client = await connectAsync(url, { clientId: `${name}-${index}`, reconnectPeriod: 0 })
      await client.publishAsync(`vital/${name}-${index}`, '{"timestamp":1750240830,"heartRateValue":61.5}', { qos: 1 })
      await client.endAsync()
    }
    const body = `{"device":"${name}-http","timestamp":1750240830,"heartRateValue":61.5}`
    const { status } = await fetch(`http://127.0.0.1:${httpPort}/vital-data`, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body
    })
    t.equal(status, 202)
  }
  for (const name of ['one', 'two', 'three']) await publishAll(name)
  await gateways[0].stop()
  for (const name of ['four', 'five', 'six']) await publishAll(name)
  t.equal((await query('select from readings')).length, 18)
})
