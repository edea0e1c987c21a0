/** The roles that may listen, and the end of a stream with its credentials. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { EventSource } from 'eventsource'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { pino } from 'pino'
import t from 'tap'
import type { Authentication } from '../../broker/connect/credentials.ts'
import type { Role } from '../../schemas/principal.ts'
import { createEvents } from '../../src/events/events.ts'
import { createMetrics } from '../../src/metrics/metrics.ts'
import { bearer, openCredentials } from '../helpers/credentials.ts'
import { openEvents, startEvents } from '../helpers/events.ts'
import { startGateway } from '../helpers/gateway.ts'
import { expectError, startHttpServer } from '../helpers/http-server.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'

/** The documented bound, with room for a busy machine. */
const EFFECTIVE_MS = 3000
const ROOM_MS = 7000

/** `role:id` is a credential. */
function authenticate ({ authorization }: { authorization?: string | undefined }): Authentication {
  const [, role, id] = /^Bearer (\w+):(\w+)$/.exec(authorization ?? '') ?? []
  if (role === 'unknown') return { status: 'unavailable' }
  return id === undefined
    ? { status: 'refused', reason: 'wrong_secret' }
    : { status: 'accepted', principal: { id, role: role as Role } }
}

t.test('the roles that may read may listen, and a device hears only of itself', async (t) => {
  const { url } = await startEvents(t, {}, { authenticate })
  for (const role of ['operator', 'application', 'admin']) {
    t.equal((await openEvents(t, url, '/events', bearer(`${role}:x`))).response.statusCode, 200, role)
  }
  for (const path of ['/events', '/events?device=other', '/events?device=band&device=other', '/events?prefix=band', '/events?prefix=b']) {
    await expectError(t, await fetch(url + path, { headers: bearer('device:band') }), 403, 'VITAL_FORBIDDEN')
  }
  t.equal((await openEvents(t, url, '/events?device=band', bearer('device:band'))).response.statusCode, 200)
})

t.test('a browser is asked for the credential, which comes as the password of Basic', async (t) => {
  const { url } = await startEvents(t, {}, { authenticate })
  const asked = await fetch(`${url}/events`)
  t.match(asked.headers.get('www-authenticate'), /^Basic realm=/)
  await expectError(t, asked, 401, 'VITAL_UNAUTHENTICATED')
  const basic = { authorization: `Basic ${Buffer.from('anybody:application:x').toString('base64')}` }
  t.equal((await openEvents(t, url, '/events', basic)).response.statusCode, 200)
})

t.test('a temporary fault is never answered with an error: a browser would give up for good', async (t) => {
  let isKnown = false
  let limited = 0
  const { url, store } = await startEvents(t, {}, {
    authenticate: (headers) => isKnown ? authenticate(headers) : { status: 'unavailable' },
    requestsPerSecondMax: 1,
    onLimited () { limited++ }
  })
  const later = async (why: RegExp) => {
    const stream = await openEvents(t, url, '/events', bearer('application:x'))
    t.equal(stream.response.statusCode, 200)
    t.match(stream.response.headers, { 'content-type': 'text/event-stream', 'cache-control': 'no-store, no-transform' })
    t.equal(stream.response.headers['retry-after'], undefined)
    await until(() => stream.hasEnded, 'the end')
    t.match(stream.text(), why)
    t.match(stream.text(), /^: .*\nretry: \d{4}\n\n$/)
  }
  await later(/^: The credential cannot be checked now/)
  t.equal((await fetch(`${url}/vital-data`, { headers: bearer('application:x') })).status, 503, 'elsewhere it is an error')

  const source = new EventSource(`${url}/events`, {
    fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...bearer('application:y') } })
  })
  t.teardown(() => { source.close() })
  let errors = 0
  const seen: string[] = []
  source.addEventListener('error', () => { errors++ })
  source.addEventListener('reading', ({ data }) => { seen.push(String(data)) })
  await until(() => errors > 0, 'the first stream to end')
  t.not(source.readyState, source.CLOSED)
  isKnown = true
  for (let count = 0; count < 5; count++) {
    const stream = await openEvents(t, url, '/events', bearer('application:x'))
    t.equal(stream.response.statusCode, 200)
  }
  await later(/^: Too many requests/)
  t.ok(limited > 0)
  t.equal((await fetch(`${url}/vital-data`, { headers: bearer('application:x') })).status, 429, 'elsewhere it is an error')
  await until(() => {
    store(['band'])
    return seen.length > 0
  }, 'the next reading, without doing anything')
})

t.test('after many wrong credentials a request is told to come back, and gets no events', async (t) => {
  const { url } = await startEvents(t, {}, { authenticate })
  const statuses = new Set<number>()
  for (let count = 0; count < 40; count++) {
    const { response, text, request } = await openEvents(t, url, '/events', bearer('wrong'))
    statuses.add(response.statusCode ?? 0)
    t.notMatch(text(), /events follow/)
    request.destroy()
  }
  t.strictSame([...statuses], [401, 200], 'refused, and told to come back once there were too many')
})

t.test('a stream ends within 3 s of a revocation, a rotation or another role; others stay', { timeout: 60_000 }, async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  const credentials = openCredentials(t, connectionString)
  const secrets = new Map<string, string>()
  for (const id of ['revoked', 'rotated', 'demoted', 'deleted', 'stays', 'overlap']) {
    secrets.set(id, await credentials.add(id, 'application'))
  }
  secrets.set('device', await credentials.add('device', 'device'))
  const { httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  const open = (id: string) => openEvents(t, httpUrl, id === 'device' ? '/events?device=device' : '/events', bearer(secrets.get(id)!))
  const streams = new Map(await Promise.all([...secrets.keys()].map(async (id) => [id, await open(id)] as const)))
  for (const [id, { response }] of streams) t.equal(response.statusCode, 200, id)

  const ends = async (id: string, change: () => Promise<unknown>) => {
    await change()
    const startMs = performance.now()
    await until(() => streams.get(id)!.hasEnded, `${id} to end`, EFFECTIVE_MS + ROOM_MS)
    t.comment(`${id} ended ${Math.round(performance.now() - startMs)} ms after COMMIT`)
    t.equal((await fetch(`${httpUrl}/events`, { headers: bearer(secrets.get(id)!) })).status, id === 'demoted' ? 403 : 401, id)
  }
  await ends('revoked', () => credentials.revoke('revoked'))
  await ends('rotated', () => credentials.rotate('rotated', 0))
  await ends('demoted', () => query('update principals set role = \'device\' where id = \'demoted\''))
  await ends('deleted', () => query('delete from principals where id = \'deleted\''))
  await ends('device', () => credentials.revoke('device'))
  await credentials.rotate('overlap', 3600)
  await ends('overlap', () =>
    query('update credentials set expires_at = now() + interval \'1 second\' where principal = \'overlap\' and expires_at is not null'))
  t.notOk(streams.get('stays')!.hasEnded)
  t.match(await (await fetch(`${httpUrl}/metrics`, { headers: bearer(await credentials.add('root', 'admin')) })).text(),
    /^vital_event_listeners 1$/m)
})

t.test('a stream ends within 3 s of its token, and when the first credential closes the gateway', { timeout: 60_000 }, async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const { publicKey, privateKey } = await generateKeyPair('EdDSA', { extractable: true })
  const jwks = join(await createTestDir(t), 'jwks.json')
  await writeFile(jwks, JSON.stringify({ keys: [{ ...await exportJWK(publicKey), kid: 'k', alg: 'EdDSA' }] }))
  const { httpUrl } = await startGateway(t, {
    DATABASE_URL: connectionString, VITAL_JWT_JWKS: jwks, VITAL_JWT_ISSUER: 'i', VITAL_JWT_AUDIENCE: 'a'
  })
  const expiresAtS = Math.floor(Date.now() / 1000) + 3
  const token = await new SignJWT({ role: 'application' }).setProtectedHeader({ alg: 'EdDSA', kid: 'k' })
    .setSubject('app').setIssuer('i').setAudience('a').setExpirationTime(expiresAtS).sign(privateKey)
  const stream = await openEvents(t, httpUrl, '/events', bearer(token))
  t.equal(stream.response.statusCode, 200)
  await until(() => stream.hasEnded, 'its end', 3000 + EFFECTIVE_MS + ROOM_MS)
  t.ok(Date.now() >= expiresAtS * 1000, 'not before')
  t.equal((await fetch(`${httpUrl}/events`, { headers: bearer(token) })).status, 401)

  const { connectionString: open } = await createTestDatabase(t)
  const gateway = await startGateway(t, { DATABASE_URL: open })
  const anonymous = await openEvents(t, gateway.httpUrl)
  t.equal(anonymous.response.statusCode, 200)
  await openCredentials(t, open).add('root', 'admin')
  await until(() => anonymous.hasEnded, 'the anonymous stream to end', EFFECTIVE_MS + ROOM_MS)
})

t.test('a principal that changed after it was authenticated gets no place', async (t) => {
  const changed = new Set(['gone'])
  const events = createEvents({
    untilOf: (principal) => changed.has(principal?.id ?? '') ? 0 : undefined, metrics: createMetrics(), logger: pino({ level: 'silent' })
  })
  const { url } = await startHttpServer(t, { events, authenticate })
  t.teardown(() => { events.stop() })
  const gone = await openEvents(t, url, '/events', bearer('application:gone'))
  const stays = await openEvents(t, url, '/events', bearer('application:stays'))
  await until(() => gone.hasEnded, 'its end')
  t.notOk(stays.hasEnded)
  t.strictSame(events.guarded.principals().map((principal) => principal?.id), ['stays'])
})
