import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import t, { type Test } from 'tap'
import { connectClient, startGateway } from '../helpers/gateway.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { bearer, login, openCredentials, tryConnect } from '../helpers/credentials.ts'

const ISSUER = 'https://issuer.example/'
const AUDIENCE = 'vital'

async function startWithIssuer (t: Test) {
  const { connectionString } = await createTestDatabase(t)
  const { publicKey, privateKey } = await generateKeyPair('EdDSA', { extractable: true })
  const jwks = join(await createTestDir(t), 'jwks.json')
  await writeFile(jwks, JSON.stringify({ keys: [{ ...await exportJWK(publicKey), kid: 'k', alg: 'EdDSA' }] }))
  const gateway = await startGateway(t, {
    DATABASE_URL: connectionString, VITAL_JWT_JWKS: jwks, VITAL_JWT_ISSUER: ISSUER, VITAL_JWT_AUDIENCE: AUDIENCE
  })
  const sign = (sub: string, role: string, seconds = 60) => new SignJWT({ role }).setProtectedHeader({ alg: 'EdDSA', kid: 'k' })
    .setSubject(sub).setIssuer(ISSUER).setAudience(AUDIENCE).setExpirationTime(Math.floor(Date.now() / 1000) + seconds).sign(privateKey)
  const signAs = (sub: unknown, role: string) => new SignJWT({ role, sub } as never).setProtectedHeader({ alg: 'EdDSA', kid: 'k' })
    .setIssuer(ISSUER).setAudience(AUDIENCE).setExpirationTime('1m').sign(privateKey)
  return { ...gateway, sign, signAs, connectionString, jwks }
}

t.test('a token needs no row of its principal, and has the same rights over both transports', async (t) => {
  const { mqttPort, httpUrl, sign } = await startWithIssuer(t)
  t.equal(await tryConnect(mqttPort, {}), 5, 'with an issuer the gateway is closed, although no principal exists')
  const band = await sign('band-1', 'device')
  const device = await connectClient(t, mqttPort, login('band-1', band))
  await device.publishAsync('vital/band-1', '{"timestamp":1}', { qos: 1 })
  t.equal(await tryConnect(mqttPort, { clientId: 'band-1', username: '', password: band }), 5, 'the username is the subject, or left out')
  t.equal(await tryConnect(mqttPort, login('band-2', band)), 5)
  t.equal(await tryConnect(mqttPort, login('band-1', band, 'band-2')), 5)
  t.equal((await fetch(`${httpUrl}/vital-data/band-1`, { headers: bearer(band) })).status, 200)
  t.equal((await fetch(`${httpUrl}/vital-data`, { headers: bearer(band) })).status, 403)
  t.equal((await fetch(`${httpUrl}/vital-data`, { headers: bearer(await sign('app', 'application')) })).status, 200)
  t.equal((await fetch(`${httpUrl}/vital-data`, { headers: bearer(`${band}x`) })).status, 401)
})

t.test('a subject that is not a string is refused over both transports', async (t) => {
  const { mqttPort, httpUrl, signAs } = await startWithIssuer(t)
  for (const sub of [17, true, ['17']]) {
    const token = await signAs(sub, 'device')
    t.equal(await tryConnect(mqttPort, login(String(sub), token)), 5, JSON.stringify(sub))
    t.equal((await fetch(`${httpUrl}/vital-data/${String(sub)}`, { headers: bearer(token) })).status, 401, JSON.stringify(sub))
  }
  t.equal((await fetch(`${httpUrl}/vital-data`, { headers: bearer(await signAs('17', 'admin')) })).status, 200)
})

t.test('the session ends when the token does', async (t) => {
  const { mqttPort, httpUrl, sign } = await startWithIssuer(t)
  const token = await sign('band-1', 'device', 2)
  const device = await connectClient(t, mqttPort, login('band-1', token))
  await device.publishAsync('vital/band-1', '{"timestamp":1}', { qos: 1 })
  await new Promise<void>((resolve) => { device.once('close', () => { resolve() }) })
  t.equal(await tryConnect(mqttPort, login('band-1', token)), 5)
  t.equal((await fetch(`${httpUrl}/vital-data/band-1`, { headers: bearer(token) })).status, 401)
})

t.test('a revoked principal is refused with any token', async (t) => {
  const { mqttPort, connectionString, sign } = await startWithIssuer(t)
  const credentials = openCredentials(t, connectionString)
  await credentials.add('band-1', 'device')
  const device = await connectClient(t, mqttPort, login('band-1', await sign('band-1', 'device')))
  const closed = new Promise<void>((resolve) => { device.once('close', () => { resolve() }) })
  await credentials.revoke('band-1')
  await closed
  t.equal(await tryConnect(mqttPort, login('band-1', await sign('band-1', 'device'))), 5)
})

t.test('a connection ends when the key that signed its token is removed from the file', { timeout: 120_000 }, async (t) => {
  const { mqttPort, httpUrl, sign, jwks } = await startWithIssuer(t)
  const token = await sign('band-1', 'device', 600)
  const device = await connectClient(t, mqttPort, login('band-1', token))
  const closed = new Promise<void>((resolve) => { device.once('close', () => { resolve() }) })
  const { publicKey } = await generateKeyPair('EdDSA', { extractable: true })
  await writeFile(jwks, JSON.stringify({ keys: [{ ...await exportJWK(publicKey), kid: 'k2', alg: 'EdDSA' }] }))
  await closed
  t.equal(await tryConnect(mqttPort, login('band-1', token)), 5)
  t.equal((await fetch(`${httpUrl}/vital-data/band-1`, { headers: bearer(token) })).status, 401)
})
