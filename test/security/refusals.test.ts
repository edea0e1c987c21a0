import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import t, { type Test } from 'tap'
import { createIdHash } from '../../src/log/log-ids.ts'
import { createLogger } from '../../src/log/logger.ts'
import { generateSecret } from '../../src/security/secrets.ts'
import { createDatabaseSwitch } from '../helpers/database-switch.ts'
import { exactly } from '../helpers/exactly.ts'
import { startGateway } from '../helpers/gateway.ts'
import { createTestDir } from '../helpers/postgres.ts'
import { bearer, login, openCredentials, tryConnect } from '../helpers/credentials.ts'

const ISSUER = 'https://issuer.example'
const AUDIENCE = 'vital'

interface Line {
  readonly msg: string
  readonly reason?: string
  readonly principal?: string
  readonly clientId?: string
}

/** A gateway with a token issuer and a readable log, on a database that can be switched off. */
async function start (t: Test, { isHashed = false } = {}) {
  const database = await createDatabaseSwitch(t)
  const { connectionString } = database
  const dataDir = await createTestDir(t)
  const { publicKey, privateKey } = await generateKeyPair('EdDSA', { extractable: true })
  const jwks = join(dataDir, 'jwks.json')
  await writeFile(jwks, JSON.stringify({ keys: [{ ...await exportJWK(publicKey), kid: 'k', alg: 'EdDSA' }] }))
  const hashId = createIdHash(dataDir)
  let text = ''
  const logger = createLogger({
    level: 'info', hashId: isHashed ? hashId : undefined, isPretty: false, destination: { write: (line) => { text += line } }
  })
  const variables = {
    DATABASE_URL: connectionString, VITAL_DATA_DIR: dataDir, VITAL_JWT_JWKS: jwks, VITAL_JWT_ISSUER: ISSUER, VITAL_JWT_AUDIENCE: AUDIENCE
  }
  const gateway = await startGateway(t, variables, {}, logger)
  const sign = (claims: Record<string, unknown>, key = privateKey) =>
    new SignJWT({ sub: 'band', role: 'device', iss: ISSUER, aud: AUDIENCE, exp: Date.now() / 1000 + 60, ...claims }).setProtectedHeader({
      alg: 'EdDSA', kid: 'k'
    }).sign(key)
  const lines = (msg: string) => text.split('\n').filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line).filter((line) => line.msg === msg)
  return { ...gateway, database, credentials: openCredentials(t, connectionString), sign, hashId, lines, text: () => text }
}

async function countsOf (httpUrl: string, admin: string, transport: string) {
  const text = await (await fetch(`${httpUrl}/metrics`, { headers: bearer(admin) })).text()
  return Object.fromEntries([...text.matchAll(new RegExp(`^vital_logins_refused_total\\{transport="${transport}",reason="(\\w+)"\\} ` +
    '([1-9]\\d*)$', 'gm'))]
    .map(([, reason, count]) => [reason, Number(count)]))
}

t.test('refused logins: the log has the reason, and all clients get the same answer', async (t) => {
  const { credentials, mqttPort, httpUrl, sign, lines, text } = await start(t)
  const admin = await credentials.add('root', 'admin')
  const band = await credentials.add('band', 'device')
  const gone = await credentials.add('gone', 'device')
  await credentials.revoke('gone')
  const application = await credentials.add('app', 'application')
  const nobodys = generateSecret()
  const stranger = await generateKeyPair('EdDSA')
  const tokens = {
    expired: await sign({ exp: Date.now() / 1000 - 60 }),
    wrong_audience: await sign({ aud: 'another' }),
    wrong_issuer: await sign({ iss: 'https://another.example' }),
    wrong_signature: await sign({}, stranger.privateKey)
  }
  const logins = {
    no_credentials: { clientId: 'band' },
    unknown_id: login('nobody', nobodys),
    revoked: login('gone', gone),
    wrong_secret: login('band', nobodys),
    wrong_client_id: login('band', band, 'another'),
    not_allowed: login('app', application),
    ...Object.fromEntries(Object.entries(tokens).map(([reason, token]) => [reason, login('band', token)]))
  }
  for (const [reason, options] of Object.entries(logins)) t.equal(await tryConnect(mqttPort, options), 5, reason)
  t.same(lines('login refused').map(({ reason }) => reason), Object.keys(logins))
  t.same(await countsOf(httpUrl, admin, 'mqtt'), Object.fromEntries(Object.keys(logins).map((reason) => [reason, 1])))
  const found = (reason: string) => lines('login refused').find((line) => line.reason === reason)
  t.match(found('revoked'), { principal: 'gone', clientId: 'gone' })
  t.match(found('wrong_client_id'), { principal: 'band', clientId: 'another' })
  t.equal(found('unknown_id')?.principal, undefined, 'the name is not logged, because it may be a mistyped password')
  t.equal(found('wrong_signature')?.principal, undefined, 'no claim of an unverified token is logged')
  for (const secret of [band, gone, application, nobodys, ...Object.values(tokens)]) t.notOk(text().includes(secret), 'no secret')
  t.equal(await tryConnect(mqttPort, login('band', band)), 0)
})

t.test('refused requests: the same, also for a role without the right and for the body of another device', async (t) => {
  const { credentials, httpUrl, sign, lines, text } = await start(t)
  const admin = await credentials.add('root', 'admin')
  const band = await credentials.add('band', 'device')
  const gone = await credentials.add('gone', 'operator')
  const statusOf = async (secret: string) => (await fetch(`${httpUrl}/vital-data`, { headers: bearer(secret) })).status
  t.equal(await statusOf(gone), 200)
  await credentials.revoke('gone')
  while (await statusOf(gone) === 200) await sleep(50)
  const revokedSoFar = (await countsOf(httpUrl, admin, 'http'))['revoked'] ?? 0
  t.equal(revokedSoFar, 1)
  const nobodys = generateSecret()
  const requests: Array<[string, number, Record<string, string>]> = [
    ['no_credentials', 401, {}],
    ['malformed', 401, { authorization: 'Basic YTpi' }],
    ['wrong_secret', 401, bearer(nobodys)],
    ['revoked', 401, bearer(gone)],
    ['expired', 401, bearer(await sign({ exp: Date.now() / 1000 - 60 }))],
    ['wrong_audience', 401, bearer(await sign({ aud: 'another' }))],
    ['not_allowed', 403, bearer(band)]
  ]
  const answers = new Set<string>()
  for (const [reason, status, headers] of requests) {
    const answer = await fetch(`${httpUrl}/vital-data?count=3`, { headers })
    t.equal(answer.status, status, reason)
    if (status === 401) answers.add(`${answer.headers.get('www-authenticate')} ${await answer.text()}`)
  }
  t.equal(answers.size, 1, 'all answers are the same')
  t.same(lines('request refused').map(({ reason }) => reason).sort(), requests.map(([reason]) => reason).sort())
  t.match(lines('request refused').find(({ reason }) => reason === 'revoked'), { principal: 'gone', method: 'GET', route: '/vital-data' })
  const post = await fetch(`${httpUrl}/vital-data`, {
    method: 'POST', headers: { ...bearer(band), 'content-type': 'application/json' }, body: '{"device":"another","timestamp":1}'
  })
  t.equal(post.status, 403)
  t.equal((await fetch(`${httpUrl}/vital-data/another`, { headers: bearer(band) })).status, 403)
  t.equal((await fetch(`${httpUrl}/health/live`)).status, 200, 'a probe needs no credential')
  t.same(await countsOf(httpUrl, admin, 'http'), {
    ...Object.fromEntries(requests.map(([reason]) => [reason, 1])), revoked: 2, not_allowed: 3
  })
  for (const secret of [band, gone, nobodys]) t.notOk(text().includes(secret), 'no secret')
})

t.test('a flood of refusals is counted and logged at intervals; ids are hashed where configured', async (t) => {
  const { credentials, mqttPort, httpUrl, hashId, lines, text } = await start(t, { isHashed: true })
  const admin = await credentials.add('root', 'admin')
  const gone = await credentials.add('gone-17', 'device')
  await credentials.revoke('gone-17')
  for (let guess = 0; guess < 8; guess++) t.equal(await tryConnect(mqttPort, login(`guess-${guess}`, generateSecret())), 5)
  t.equal(await tryConnect(mqttPort, login('gone-17', gone)), 5)
  const refused = lines('login refused')
  t.same(refused.map(({ reason }) => reason), ['unknown_id', 'revoked'], 'one line for the flood, and other refusals are still logged')
  t.match(refused[1], { principal: hashId('gone-17'), clientId: hashId('gone-17') })
  t.notMatch(text(), /gone-17|guess-\d/)
  t.same(await countsOf(httpUrl, admin, 'mqtt'), { unknown_id: 8, revoked: 1 })
})

t.test('PostgreSQL is away: an unavailable answer differs from a refusal', async (t) => {
  const { credentials, database, httpUrl, lines } = await start(t)
  const admin = await credentials.add('root', 'admin')
  t.equal((await fetch(`${httpUrl}/vital-data`, { headers: bearer(admin) })).status, 200)
  await database.off()
  t.equal((await fetch(`${httpUrl}/vital-data`, { headers: bearer(generateSecret()) })).status, 503)
  t.match(lines('request refused'), exactly({ reason: 'unavailable' }))
  t.same(await countsOf(httpUrl, admin, 'http'), { unavailable: 1 })
})
