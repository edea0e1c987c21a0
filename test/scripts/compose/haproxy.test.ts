/** Two gateways on one database behind HAProxy, with the shipped files. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { IClientOptions, MqttClient } from 'mqtt'
import { connectAsync } from 'mqtt'
import t, { type Test } from 'tap'
import { createAuthority } from '../../helpers/certificates.ts'
import { bearer, login, openCredentials, tryConnect } from '../../helpers/credentials.ts'
import { connectClient, startGateway } from '../../helpers/gateway.ts'
import { spawnGateway } from '../../helpers/gateway-process.ts'
import { NO_HAPROXY, startHaproxy } from '../../helpers/haproxy.ts'
import { createTestDatabase } from '../../helpers/postgres.ts'
import { until } from '../../helpers/until.ts'

const BEHIND_A_PROXY = { VITAL_TRUSTED_PROXIES: '127.0.0.1', VITAL_PROXY_PROTOCOL: 'true' }
const READING = '{"timestamp":1750240830,"heartRateValue":61.5}'

async function startTwo (t: Test) {
  const { connectionString, query } = await createTestDatabase(t)
  const variables = { DATABASE_URL: connectionString, ...BEHIND_A_PROXY }
  const gateways = [await startGateway(t, variables), await startGateway(t, variables)] as const
  return { connectionString, query, gateways }
}

const publish = (client: MqttClient, device: string) => client.publishAsync(`vital/${device}`, READING, { qos: 1 })

/** The number of connected MQTT clients that a gateway counts. */
async function connectionsOf (httpUrl: string): Promise<number> {
  const text = await (await fetch(`${httpUrl}/metrics`)).text()
  return [...text.matchAll(/^vital_mqtt_connections(?:\{[^}]*\})? (\d+)/gm)].reduce((sum, [, count]) => sum + Number(count), 0)
}

t.test('devices spread over both gateways and come back to theirs, and every acknowledged ' +
  'reading is stored', { skip: NO_HAPROXY }, async (t) => {
  const { query, gateways } = await startTwo(t)
  const { mqttPort, httpUrl } = await startHaproxy(t, { gateways })
  const devices = Array.from({ length: 40 }, (_, index) => `band-${index}`)
  const connectAll = () => Promise.all(devices.map((device, index) =>
    connectClient(t, mqttPort, { clientId: device, protocolVersion: index % 2 === 0 ? 4 : 5 })))
  const split = () => Promise.all(gateways.map(({ httpUrl }) => connectionsOf(httpUrl)))
  const clients = await connectAll()
  const first = await split()
  t.equal(first[0]! + first[1]!, devices.length)
  t.ok(Math.max(...first) <= Math.ceil(0.625 * devices.length) + 1, `the balance factor bounds ${first.join(' and ')}`)
  await Promise.all(clients.map((client, index) => publish(client, devices[index]!)))
  t.equal((await query('select from readings')).length, devices.length)
  const { total } = await (await fetch(`${httpUrl}/vital-data?count=1`)).json() as { total: number }
  t.equal(total, devices.length, 'from either gateway')
  await Promise.all(clients.map((client) => client.endAsync(true)))
  await until(async () => (await split()).join() === '0,0')
  for (const device of devices.slice(0, 6)) {
    const homes: number[] = []
    for (let visit = 0; visit < 3; visit++) {
      const client = await connectClient(t, mqttPort, { clientId: device })
      homes.push((await split()).indexOf(1))
      await client.endAsync(true)
      await until(async () => (await split()).join() === '0,0')
    }
    t.ok(homes.every((home) => home >= 0 && home === homes[0]), `${device} comes back to its gateway: ${homes.join()}`)
  }
})

t.test('a killed gateway: its devices go on at the other one; drained, it gets no new ones', { skip: NO_HAPROXY }, async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const variables = { DATABASE_URL: connectionString, ...BEHIND_A_PROXY }
  const doomed = await spawnGateway(t, variables)
  await doomed.said(/^ready$/)
  const portOf = (protocol: string) => doomed.lines.find((line) => line.protocol === protocol)!.port!
  const staying = await startGateway(t, variables)
  const haproxy = await startHaproxy(t, { gateways: [{ mqttPort: portOf('mqtt'), httpPort: portOf('http') }, staying] })
  const connectDevice = (clientId: string, options: IClientOptions = {}) =>
    connectAsync(`mqtt://127.0.0.1:${haproxy.mqttPort}`, { clientId, reconnectPeriod: 100, ...options })
  const devices = Array.from({ length: 20 }, (_, index) => `band-${index}`)
  const clients = await Promise.all(devices.map((device) => connectDevice(device)))
  t.teardown(() => Promise.all(clients.map((client) => client.endAsync(true))))
  const atDoomed = await connectionsOf(`http://127.0.0.1:${portOf('http')}`)
  t.ok(atDoomed > 0, `${atDoomed} of 20 are at the gateway that is killed`)
  const published = clients.map((client, index) => publish(client, devices[index]!))
  doomed.child.kill('SIGKILL')
  await Promise.all(published)
  await until(async () => await connectionsOf(staying.httpUrl) === devices.length, 'all devices to be at the other gateway')
  t.equal((await query('select from readings')).length, devices.length, 'acknowledged, and each stored once')
  await until(async () => (await haproxy.states('http_gateways'))['gateway-1']!.startsWith('DOWN'), 'HAProxy to see it')
  t.equal((await fetch(`${haproxy.httpUrl}/health/ready`)).status, 200)

  await haproxy.command('set server mqtt_gateways/gateway-2 state drain')
  t.match(await haproxy.states('mqtt_gateways'), { 'gateway-2': 'DRAIN' })
  await publish(clients[0]!, 'band-0')
  t.pass('open connections stay')
  await t.rejects(tryConnect(haproxy.mqttPort, { clientId: 'late' }), 'no gateway takes new connections')
  await haproxy.command('set server mqtt_gateways/gateway-2 state ready')
  t.equal(await tryConnect(haproxy.mqttPort, { clientId: 'late' }), 0)
})

t.test('TLS ends at HAProxy, and a client certificate is the login of its device', { skip: NO_HAPROXY }, async (t) => {
  const authority = await createAuthority(t)
  const { cert, key } = await authority.issueServer()
  const pemFile = join(authority.directory, 'haproxy.pem')
  await writeFile(pemFile, Buffer.concat([await readFile(cert), await readFile(key)]), { mode: 0o600 })
  const { connectionString, gateways, query } = await startTwo(t)
  const credentials = openCredentials(t, connectionString)
  await credentials.add('band-1', 'device')
  const secret = await credentials.add('ward', 'operator')
  await until(async () => (await fetch(`${gateways[0].httpUrl}/vital-data`)).status === 401, 'credentials to be asked for')
  await until(async () => (await fetch(`${gateways[1].httpUrl}/vital-data`)).status === 401, 'both gateways to ask for them')
  const haproxy = await startHaproxy(t, { gateways, tls: { pemFile, clientCaFile: authority.ca } })
  const ca = await readFile(authority.ca)
  const certified = async (signer: typeof authority, name: string) => {
    const files = await signer.issue({ name, use: 'clientAuth' })
    return { cert: await readFile(files.cert), key: await readFile(files.key) }
  }
  const own = await certified(authority, 'band-1')
  const options = { port: haproxy.mqttsPort, protocol: 'mqtts' as const, host: 'localhost', ca }
  const device = await connectClient(t, haproxy.mqttsPort, { ...options, ...own, clientId: 'band-1' })
  await publish(device, 'band-1')
  t.equal((await query('select from readings')).length, 1)
  t.not(await tryConnect(haproxy.mqttsPort, { ...options, ...own, clientId: 'band-2' }), 0, 'only that device')
  t.not(await tryConnect(haproxy.mqttsPort, { ...options, clientId: 'band-1' }), 0, 'without a certificate')
  const foreign = await certified(await createAuthority(t), 'band-1')
  await t.rejects(tryConnect(haproxy.mqttsPort, { ...options, ...foreign, clientId: 'band-1' }), 'a certificate of another authority')
  t.not(await tryConnect(haproxy.mqttPort, { clientId: 'band-1' }), 0, 'without TLS')
  t.equal(await tryConnect(haproxy.mqttsPort, { ...options, ...login('ward', secret) }), 0, 'a secret is accepted as well')
  const overWebSocket = await connectAsync(`wss://localhost:${haproxy.httpsPort}/mqtt`, { ca, ...login('ward', secret) })
  t.teardown(() => overWebSocket.endAsync(true))
  t.equal((await overWebSocket.subscribeAsync('vital/#', { qos: 1 }))[0]?.qos, 1)
  const stats = await (await fetch(`http://127.0.0.1:${haproxy.statsPort}/metrics`)).text()
  t.match(stats, /haproxy_server_status\{proxy="mqtt_gateways",server="gateway-1",state="UP"\} 1/)
  t.equal((await fetch(`${haproxy.httpUrl}/vital-data`, { headers: bearer(secret) })).status, 200)
})

t.test('a CONNECT with a password of 16 KiB passes, whole or in pieces; other protocols do not', { skip: NO_HAPROXY }, async (t) => {
  const { gateways } = await startTwo(t)
  const { mqttPort } = await startHaproxy(t, { gateways })
  t.equal(await tryConnect(mqttPort, { clientId: 'long', username: 'long', password: 'x'.repeat(16_300) }), 0)
  t.equal(await tryConnect(mqttPort, { clientId: '', clean: true }), 0, 'no client id')
  await t.rejects(fetch(`http://127.0.0.1:${mqttPort}/`), 'HTTP at the port of MQTT')
})
