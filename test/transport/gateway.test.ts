/** Gateways with configurations of operators, and common clients. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, readFile, rename } from 'node:fs/promises'
import { connect as connectTls } from 'node:tls'
import { promisify } from 'node:util'
import { connectAsync, type IClientOptions } from 'mqtt'
import t, { type Test } from 'tap'
import { readLedger, startGateway } from '../helpers/gateway.ts'
import { type Authority, createAuthority } from '../helpers/certificates.ts'

/** Shared by all tests here, because making one takes a dozen processes. */
const sharedAuthority = createAuthority(t)

const run = promisify(execFile)

async function startSecure (t: Test, authority: Authority, variables: Record<string, string> = {}) {
  const { cert, key } = await authority.issueServer()
  const gateway = await startGateway(t, { VITAL_TLS_CERT_FILE: cert, VITAL_TLS_KEY_FILE: key, ...variables })
  return { ...gateway, cert, key, ca: await readFile(authority.ca), httpsUrl: `https://localhost:${gateway.httpPort}` }
}

async function isInstalled (program: string): Promise<boolean> {
  return await run('sh', ['-c', `command -v ${program}`]).then(() => true, () => false)
}

async function connect (t: Test, url: string, options: IClientOptions = {}) {
  const client = await connectAsync(url, { reconnectPeriod: 0, ...options })
  client.on('error', () => {})
  t.teardown(() => client.endAsync(true))
  return client
}

async function readSerial (port: number, ca: Buffer): Promise<string> {
  const socket = connectTls({ port, host: '127.0.0.1', ca })
  await once(socket, 'secureConnect')
  const { serialNumber } = socket.getPeerCertificate()
  socket.destroy()
  return serialNumber
}

t.test('mqtt.js over every transport: stored, and seen over the others', async (t) => {
  const { mqttPort, mqttsPort, httpPort, ca } = await startSecure(t, await sharedAuthority)
  const urls = { tcp: `mqtt://localhost:${mqttPort}`, tls: `mqtts://localhost:${mqttsPort}`, wss: `wss://localhost:${httpPort}/mqtt` }
  const clients = await Promise.all(Object.entries(urls).map(async ([transport, url]) => ({
    transport, client: await connect(t, url, { ca })
  })))
  const seen: string[] = []
  for (const { transport, client } of clients) {
    client.on('message', (topic) => { seen.push(`${topic} over ${transport}`) })
    await client.subscribeAsync('vital/#', { qos: 1 })
  }
  for (const { transport, client } of clients) {
    await client.publishAsync(`vital/${transport}`,
      '{"timestamp":1750240830,"heartRateValue":61.5}', { qos: 1 })
  }
  while (seen.length < 9) await new Promise((resolve) => { setTimeout(resolve, 5) })
  t.strictSame(seen.sort(), Object.keys(urls).flatMap((from) => Object.keys(urls).map((to) => `vital/${from} over ${to}`)).sort())
  const plain = await startGateway(t)
  const device = await connect(t, `ws://localhost:${plain.httpPort}/mqtt`)
  await device.publishAsync('vital/ws', '{"timestamp":1750240830,"heartRateValue":61.5}', { qos: 1 })
  t.match(await readLedger(plain.httpUrl), { received: 1, refused: 0, deadLettered: 0, balance: 0 })
  const elder = await connect(t, `ws://localhost:${plain.httpPort}/mqtt`, { protocolId: 'MQIsdp', protocolVersion: 3 })
  await elder.publishAsync('vital/ws', '{"timestamp":1750240831,"heartRateValue":62}', { qos: 1 })
})

t.test('mosquitto_pub --cafile and curl --cacert, as the README says', async (t) => {
  const authority = await sharedAuthority
  const { mqttsPort, httpsUrl, httpPort } = await startSecure(t, authority)
  if (await isInstalled('mosquitto_pub')) {
    const publish = [
      '-h', 'localhost', '-p', String(mqttsPort), '-q', '1', '-t', 'vital/ward-3', '-m', '{"timestamp":1750240830,"heartRateValue":61.5}'
    ]
    await run('mosquitto_pub', ['--cafile', authority.ca, ...publish])
    const stranger = await createAuthority(t, 'Another CA')
    await t.rejects(run('mosquitto_pub', ['--cafile', stranger.ca, ...publish]), 'mosquitto_pub refuses a certificate of another authority')
  } else {
    t.comment('mosquitto_pub is not installed: its part is skipped')
  }
  if (!await isInstalled('curl')) return t.comment('curl is not installed: its part is skipped')
  const reading = '{"device":"ward-3","timestamp":1750240830,"heartRateValue":61.5}'
  const { stdout } = await run('curl',
    ['-sS', '--cacert', authority.ca, '-H', 'content-type: application/json', `${httpsUrl}/vital-data`, '-d', reading])
  t.same(JSON.parse(stdout), { status: 'accepted' })
  await t.rejects(run('curl', ['-sS', `http://localhost:${httpPort}/vital-data`]), 'the port speaks HTTPS only')
})

t.test('a certificate authenticates its device, over MQTT and WebSocket, and no other', async (t) => {
  const authority = await sharedAuthority
  const { mqttsPort, httpPort, ca, httpsUrl } = await startSecure(t, authority, { VITAL_TLS_CLIENT_CA_FILE: authority.ca })
  const files = await authority.issue({ name: 'band-1', use: 'clientAuth' })
  const device = { ca, cert: await readFile(files.cert), key: await readFile(files.key) }
  for (const url of [`mqtts://localhost:${mqttsPort}`, `wss://localhost:${httpPort}/mqtt`]) {
    const client = await connect(t, url, { ...device, clientId: 'band-1' })
    await client.publishAsync('vital/band-1', '{"timestamp":1750240830,"heartRateValue":61.5}', { qos: 1 })
    t.same((await client.subscribeAsync('vital/band-1/rejected')).map(({ qos }) => qos), [0])
    await t.rejects(client.subscribeAsync('vital/#'), 'the device may subscribe only to its own rejections')
    const closed = new Promise((resolve) => { client.once('close', () => { resolve('closed') }) })
    client.publish('vital/band-2', '{"timestamp":1750240830}', { qos: 1 })
    t.equal(await closed, 'closed', 'the device may publish only its own readings')
    await t.rejects(connect(t, url, { ...device, clientId: 'band-2' }), /Not authorized/, 'another client id')
    await t.rejects(connect(t, url, { ca, clientId: 'band-1' }), /Not authorized/, 'no certificate')
  }
  t.equal((await fetchSecure(httpsUrl, '/vital-data', authority)).status, 401, 'a client authority closes the gateway')
})

t.test('renewed certificates are loaded without dropping a session; bad ones are not', async (t) => {
  const authority = await sharedAuthority
  const { mqttsPort, httpPort, ca, cert, key, reload } = await startSecure(t, authority)
  const device = await connect(t, `mqtts://localhost:${mqttsPort}`, { ca })
  const browser = await connect(t, `wss://localhost:${httpPort}/mqtt`, { ca })
  const before = await readSerial(mqttsPort!, ca)
  t.equal(await readSerial(httpPort, ca), before)

  const renewed = await authority.issueServer()
  await copyFile(renewed.cert, cert)
  await reload()
  t.equal(await readSerial(mqttsPort!, ca), before, 'the key does not fit yet')
  await rename(renewed.key, key)
  await reload()
  const after = await readSerial(mqttsPort!, ca)
  t.not(after, before)
  t.equal(await readSerial(httpPort, ca), after)
  for (const client of [device, browser]) {
    t.ok(client.connected)
    await client.publishAsync('vital/a', '{"timestamp":1}', { qos: 1 })
  }
})

t.test('a gateway with TLS keeps plain MQTT on loopback, unless configured otherwise', async (t) => {
  const authority = await sharedAuthority
  const lines = async (variables: Record<string, string>) => {
    const gateway = await startSecure(t, authority, { VITAL_HOST: '0.0.0.0', VITAL_ALLOW_ANONYMOUS: 'true', ...variables })
    const { warnings } = await (await fetchSecure(gateway.httpsUrl, '/health/ready', authority)).json() as { warnings: string[] }
    return { gateway, warnings }
  }
  const { gateway, warnings } = await lines({})
  const addresses = await listeningAddresses(gateway.mqttPort)
  t.strictSame(addresses, ['127.0.0.1'])
  t.strictSame(await listeningAddresses(gateway.mqttsPort!), ['0.0.0.0'])
  t.notOk(warnings.some((warning) => warning.includes('unencrypted')))
  const asked = await lines({ VITAL_MQTT_PLAINTEXT: 'true' })
  t.strictSame(await listeningAddresses(asked.gateway.mqttPort), ['0.0.0.0'])

  const plain = await startGateway(t, { VITAL_HOST: '0.0.0.0', VITAL_ALLOW_ANONYMOUS: 'true' })
  const ready = await (await fetch(`${plain.httpUrl}/health/ready`)).json() as { warnings: string[] }
  t.ok(ready.warnings.some((warning) => /unencrypted.*VITAL_TLS_CERT_FILE/.test(warning)), 'without TLS it warns')
})

t.test('metrics and health on their own address are not on the public one', async (t) => {
  const authority = await sharedAuthority
  const { httpsUrl, adminPort } = await startSecure(t, authority, { VITAL_ADMIN_PORT: '0' })
  for (const path of ['/metrics', '/health/live', '/health/ready']) {
    t.equal((await fetchSecure(httpsUrl, path, authority)).status, 404, path)
    t.equal((await fetch(`http://127.0.0.1:${adminPort}${path}`)).status, 200, path)
  }
  t.equal((await fetch(`http://127.0.0.1:${adminPort}/vital-data`)).status, 404)
  t.equal((await fetch(`http://127.0.0.1:${adminPort}/docs`)).status, 404)
  t.equal((await fetchSecure(httpsUrl, '/vital-data', authority)).status, 200)

  const reachable = await startGateway(t, { VITAL_ADMIN_HOST: '0.0.0.0', VITAL_ADMIN_PORT: '0' })
  t.equal((await fetch(`http://127.0.0.1:${reachable.adminPort}/metrics`)).status, 401,
    'other machines reach the address, so it asks for a credential, although the gateway is open')
  t.equal((await fetch(`http://127.0.0.1:${reachable.adminPort}/health/live`)).status, 200)
  t.equal((await fetch(`${reachable.httpUrl}/vital-data`)).status, 200)
})

/** Like fetch, with a certificate authority, which fetch does not take. */
async function fetchSecure (url: string, path: string, { ca }: Authority): Promise<Response> {
  const { stdout } = await run('curl', ['-sS', '--cacert', ca, '-w', '\n%{http_code}', `${url}${path}`])
  const at = stdout.lastIndexOf('\n')
  return new Response(stdout.slice(0, at), { status: Number(stdout.slice(at + 1)) })
}

/** The addresses to which a port of this machine is bound, as the kernel reports them. */
async function listeningAddresses (port: number): Promise<string[]> {
  const LISTEN = '0A'
  const rows = (await readFile('/proc/net/tcp', 'utf8')).trim().split('\n').slice(1).map((row) => row.trim().split(/\s+/))
  return rows.filter(([, local, , state]) => state === LISTEN && parseInt(local!.split(':')[1]!, 16) === port)
    .map(([, local]) => Buffer.from(local!.split(':')[0]!, 'hex').reverse().join('.'))
}
