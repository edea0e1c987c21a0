/** The principals that may send, and the end of a stream with its credentials. */
import { X509Certificate } from 'node:crypto'
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { connect as connectHttp2 } from 'node:http2'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { credentials as channel, status } from '@grpc/grpc-js'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import t from 'tap'
import { createAuthority } from '../helpers/certificates.ts'
import { bearer, openCredentials } from '../helpers/credentials.ts'
import { exactly } from '../helpers/exactly.ts'
import { startGateway } from '../helpers/gateway.ts'
import { type GrpcClientOptions, openGrpcClient } from '../helpers/grpc.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'

/** The documented bound, with room for a busy machine. */
const EFFECTIVE_MS = 3000
const ROOM_MS = 7000

const READING = { timestamp: 1750240830, spo2Value: 97 }

t.test('a device sends its own readings, an administrator any, and other roles none', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const { add } = openCredentials(t, connectionString)
  const secrets = { 'ward-3': await add('ward-3', 'device'), ann: await add('ann', 'admin'), app: await add('app', 'application') }
  const { grpcPort, httpUrl } = await startGateway(t, { DATABASE_URL: connectionString, VITAL_GRPC_PORT: '0' })
  const clientOf = (secret?: string) => openGrpcClient(t, grpcPort!, { secret })

  const device = clientOf(secrets['ward-3'])
  t.match(await device.send([{ device: 'ward-3', ...READING }]), { outcome: 'STORED' })
  t.match(await device.send([{ device: 'ward-3', ...READING }, { device: 'ward-4', ...READING }]), {
    outcome: 'REJECTED', code: 'VITAL_FORBIDDEN', details: exactly()
  })
  const { write, answerTo, stream, ended } = device.open()
  write({ number: 1, readings: [{ device: 'ward-4', ...READING }] })
  write({ number: 2, readings: [{ device: 'ward-3', timestamp: 2 }] })
  t.match(await answerTo(1), { outcome: 'REJECTED', code: 'VITAL_FORBIDDEN' })
  t.match(await answerTo(2), { outcome: 'STORED' }, 'the stream goes on')
  stream.end()
  t.equal((await ended()).code, status.OK)
  t.match(await clientOf(secrets.ann).send([{ device: 'ward-4', ...READING }]), { outcome: 'STORED' })

  await t.rejects(clientOf(secrets.app).send([{ device: 'ward-4', ...READING }]), { code: status.PERMISSION_DENIED })
  await t.rejects(clientOf().send([{ device: 'ward-4', ...READING }]), { code: status.UNAUTHENTICATED, details: /VITAL_UNAUTHENTICATED/ })
  await t.rejects(clientOf('wrong').send([{ device: 'ward-4', ...READING }]), { code: status.UNAUTHENTICATED })
  t.match(await clientOf().open().ended(), { code: status.UNAUTHENTICATED })
  t.equal((await query('select from readings')).length, 3)
  const text = await (await fetch(`${httpUrl}/metrics`, { headers: bearer(secrets.ann) })).text()
  t.match(text, /^vital_logins_total\{transport="grpc",outcome="refused"\} 1$/m)
  t.match(text, /^vital_logins_refused_total\{transport="grpc",reason="not_allowed"\} 1$/m)
  t.match(text, /^vital_logins_refused_total\{transport="grpc",reason="no_credentials"\} 2$/m)
  t.match(text, /^vital_readings_refused_total\{transport="grpc",reason="device_mismatch"\} 3$/m)
})

t.test('after many wrong credentials of one address further ones are told to slow down; known ones pass', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const secret = await openCredentials(t, connectionString).add('ward-3', 'device')
  const { grpcPort } = await startGateway(t, { DATABASE_URL: connectionString, VITAL_GRPC_PORT: '0' })
  const known = openGrpcClient(t, grpcPort!, { secret })
  t.match(await known.send([{ device: 'ward-3', ...READING }]), { outcome: 'STORED' })
  const codes = new Set<number>()
  const stranger = openGrpcClient(t, grpcPort!, { secret: 'wrong' })
  for (let count = 0; count < 40; count++) {
    await stranger.send([]).catch((error: { code: number }) => { codes.add(error.code) })
  }
  t.strictSame([...codes], [status.UNAUTHENTICATED, status.RESOURCE_EXHAUSTED])
  t.match(await known.send([{ device: 'ward-3', ...READING }]), { outcome: 'DUPLICATE' })
})

t.test('a stream ends within 3 s of a revocation, a rotation or another role; others stay', { timeout: 60_000 }, async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const { add, revoke, rotate } = openCredentials(t, connectionString)
  const ids = ['revoked', 'rotated', 'demoted', 'deleted', 'stays']
  const secrets = await Promise.all(ids.map((id) => add(id, 'device')))
  const { grpcPort } = await startGateway(t, { DATABASE_URL: connectionString, VITAL_GRPC_PORT: '0' })
  const streams = new Map<string, ReturnType<ReturnType<typeof openGrpcClient>['open']>>()
  for (const [index, id] of ids.entries()) {
    const stream = openGrpcClient(t, grpcPort!, { secret: secrets[index] }).open()
    streams.set(id, stream)
    stream.write({ number: 1, readings: [{ device: id, ...READING }] })
    await stream.answerTo(1)
  }
  const ends = async (id: string, change: () => Promise<unknown>) => {
    await change()
    await until(() => streams.get(id)!.status() !== null, `${id} to end`, EFFECTIVE_MS + ROOM_MS)
    t.equal(streams.get(id)!.status()?.code, status.UNAUTHENTICATED, id)
  }
  await ends('revoked', () => revoke('revoked'))
  await ends('rotated', () => rotate('rotated', 0))
  await ends('demoted', () => query('update principals set role = \'application\' where id = \'demoted\''))
  await ends('deleted', () => query('delete from principals where id = \'deleted\''))
  streams.get('stays')!.write({ number: 2, readings: [{ device: 'stays', timestamp: 2 }] })
  t.match(await streams.get('stays')!.answerTo(2), { outcome: 'STORED' })
})

t.test('a stream ends with its token, and when the first credential closes the gateway', { timeout: 60_000 }, async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const { publicKey, privateKey } = await generateKeyPair('EdDSA', { extractable: true })
  const jwks = join(await createTestDir(t), 'jwks.json')
  await writeFile(jwks, JSON.stringify({ keys: [{ ...await exportJWK(publicKey), kid: 'k', alg: 'EdDSA' }] }))
  const { grpcPort } = await startGateway(t, {
    DATABASE_URL: connectionString, VITAL_GRPC_PORT: '0', VITAL_JWT_JWKS: jwks, VITAL_JWT_ISSUER: 'i', VITAL_JWT_AUDIENCE: 'a'
  })
  const expiresAtS = Math.floor(Date.now() / 1000) + 3
  const secret = await new SignJWT({ role: 'device' }).setProtectedHeader({ alg: 'EdDSA', kid: 'k' })
    .setSubject('ward-3').setIssuer('i').setAudience('a').setExpirationTime(expiresAtS).sign(privateKey)
  const stream = openGrpcClient(t, grpcPort!, { secret }).open()
  stream.write({ number: 1, readings: [{ device: 'ward-3', ...READING }] })
  t.match(await stream.answerTo(1), { outcome: 'STORED' })
  await until(() => stream.status() !== null, 'its end', 3000 + EFFECTIVE_MS + ROOM_MS)
  t.ok(Date.now() >= expiresAtS * 1000, 'not before')
  t.match(stream.status(), { code: status.UNAUTHENTICATED, details: /expired/ })

  const { connectionString: open } = await createTestDatabase(t)
  const gateway = await startGateway(t, { DATABASE_URL: open, VITAL_GRPC_PORT: '0' })
  const anonymous = openGrpcClient(t, gateway.grpcPort!).open()
  await anonymous.admitted()
  await openCredentials(t, open).add('root', 'admin')
  await until(() => anonymous.status() !== null, 'the anonymous stream to end', EFFECTIVE_MS + ROOM_MS)
})

t.test('inside TLS a client certificate identifies its device, and renewed certificates are used', async (t) => {
  const authority = await createAuthority(t)
  const server = await authority.issueServer()
  const { connectionString, query } = await createTestDatabase(t)
  const { add, revoke } = openCredentials(t, connectionString)
  const variables = { VITAL_TLS_CERT_FILE: server.cert, VITAL_TLS_KEY_FILE: server.key, VITAL_TLS_CLIENT_CA_FILE: authority.ca }
  const secret = await add('ward-9', 'device')
  await add('gone', 'device')
  const { grpcPort, reload } = await startGateway(t, { DATABASE_URL: connectionString, VITAL_GRPC_PORT: '0', ...variables })
  const ca = await readFile(authority.ca)
  const open = async (name: string | null, options: GrpcClientOptions = {}, alternativeNames?: string) => {
    if (name === null) return openGrpcClient(t, grpcPort!, { channel: channel.createSsl(ca), host: 'localhost', ...options })
    const { cert, key } = await authority.issue({ name, use: 'clientAuth', ...alternativeNames === undefined ? {} : { alternativeNames } })
    const files = await Promise.all([readFile(key), readFile(cert)])
    return openGrpcClient(t, grpcPort!, { channel: channel.createSsl(ca, ...files), host: 'localhost', ...options })
  }
  const send = async (client: ReturnType<typeof openGrpcClient>, device: string) => (await client.send([{ device, ...READING }])).outcome
  t.equal(await send(await open('ward-3', {}, 'URI:urn:x,DNS:other'), 'ward-3'), 'STORED', 'the common name')
  t.equal(await send(await open('ward-3', {}, 'DNS:other'), 'other'), 'REJECTED', 'and no other name')
  t.equal(await send(await open('$x', {}, 'URI:urn/x,DNS:ward-5'), 'ward-5'), 'STORED', 'the first name that may be an id')
  t.equal(await send(await open('ward-3', { secret }), 'ward-9'), 'STORED', 'a secret counts before a certificate')
  await t.rejects(send(await open(null), 'ward-3'), { code: status.UNAUTHENTICATED })
  const gone = (await open('gone')).open()
  await gone.admitted()
  await revoke('gone')
  t.match(await gone.ended(), { code: status.UNAUTHENTICATED })
  t.equal((await query('select from readings')).length, 3)

  const renewed = await authority.issueServer()
  await copyFile(renewed.key, server.key)
  await copyFile(renewed.cert, server.cert)
  await reload()
  t.equal(await send(await open('ward-3'), 'ward-3'), 'DUPLICATE')
  const socket = connectTls({ port: grpcPort!, host: '127.0.0.1', ca, ALPNProtocols: ['h2'] })
  await new Promise((resolve) => { socket.once('secureConnect', resolve) })
  t.equal(socket.getPeerCertificate().serialNumber, new X509Certificate(await readFile(renewed.cert)).serialNumber)
  socket.destroy()

  const http1 = connectTls({ port: grpcPort!, host: '127.0.0.1', ca, ALPNProtocols: ['http/1.1'] })
  http1.on('error', () => {})
  await new Promise((resolve) => { http1.once('close', resolve) })
  const plain = connectHttp2(`http://127.0.0.1:${grpcPort}`)
  plain.on('error', () => {})
  await new Promise((resolve) => { plain.once('close', resolve) })
})
