import { createHmac } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { exportJWK, exportSPKI, generateKeyPair, importJWK, SignJWT } from 'jose'
import t, { type Test } from 'tap'
import type { LoginRefusal } from '../../broker/connect/login-refusals.ts'
import { createKeySet } from '../../src/security/key-sets.ts'
import { createTokens, isToken, TOKEN_ALGORITHMS } from '../../src/security/tokens.ts'
import { createTestDir } from '../helpers/postgres.ts'

const ISSUER = 'https://issuer.example'
const AUDIENCE = 'vital-gateway'
const base64url = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
const nowS = () => Math.floor(Date.now() / 1000)

/** An issuer with one RSA key in a file, and a token check that trusts it. */
async function createIssuer (t: Test) {
  const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true })
  const file = join(await createTestDir(t), 'jwks.json')
  await writeFile(file, JSON.stringify({ keys: [{ ...await exportJWK(publicKey), kid: 'one' }] }))
  const failures: unknown[] = []
  const tokens = createTokens({
    keys: await createKeySet(file),
    issuer: ISSUER,
    audience: AUDIENCE,
    algorithms: ['RS256', 'ES256', 'EdDSA'],
    roleClaim: 'role',
    onFailure: (error) => failures.push(error)
  })
  const claims = { sub: 'band-1', role: 'device', iss: ISSUER, aud: AUDIENCE, exp: nowS() + 60 }
  const sign = (changes: Record<string, unknown> = {}, header: object = {}, key = privateKey) =>
    new SignJWT({ ...claims, ...changes }).setProtectedHeader({ alg: 'RS256', kid: 'one', ...header }).sign(key)
  return { tokens, claims, sign, publicKey, privateKey, failures }
}

t.test('a valid token gives principal, role and expiry', async (t) => {
  const { tokens, sign, claims } = await createIssuer(t)
  const token = await sign()
  t.ok(isToken(token))
  t.match(await tokens.check(token), { principal: { id: 'band-1', role: 'device' }, expiresAtMs: claims.exp * 1000 })
  const again = tokens.check(token)
  t.notOk(again instanceof Promise, 'a cached token is answered at once')
  t.match(again, { principal: { id: 'band-1' } })
  t.match(await tokens.check(await sign({ role: ['offline_access', 'operator'] })), { principal: { role: 'operator' } })
})

t.test('a token cannot choose its algorithm or its key', async (t) => {
  const { tokens, sign, claims, publicKey, privateKey } = await createIssuer(t)
  const body = base64url(claims)

  const none = `${base64url({ alg: 'none', kid: 'one' })}.${body}.`
  t.notOk(isToken(none), 'without a signature it does not count as a token')
  t.strictSame(await tokens.check(none), { reason: 'invalid_token' })
  t.strictSame(await tokens.check(`${base64url({ alg: 'none', kid: 'one' })}.${body}.AAAA`), { reason: 'invalid_token' })

  // Key confusion: the public key is used as the secret of an HMAC.
  for (const secret of [await exportSPKI(publicKey), JSON.stringify(await exportJWK(publicKey))]) {
    const head = `${base64url({ alg: 'HS256', kid: 'one' })}.${body}`
    t.strictSame(await tokens.check(`${head}.${createHmac('sha256', secret).update(head).digest('base64url')}`),
      { reason: 'invalid_token' })
  }
  t.notOk(TOKEN_ALGORITHMS.some((algorithm) => algorithm.startsWith('HS') || algorithm === 'none'))

  const stranger = await generateKeyPair('RS256')
  t.strictSame(await tokens.check(await sign({}, {}, stranger.privateKey)), { reason: 'wrong_signature' },
    'another key under the same name')
  t.strictSame(await tokens.check(await sign({}, {
    jwk: await exportJWK(publicKey), jku: 'http://127.0.0.1:1/'
  }, stranger.privateKey)), { reason: 'wrong_signature' })
  t.strictSame(await tokens.check(await sign({}, { kid: 'unknown' })), { reason: 'wrong_signature' })
  const stronger = await importJWK(await exportJWK(privateKey), 'RS384') as typeof privateKey
  t.strictSame(await tokens.check(await sign({}, { alg: 'RS384' }, stronger)), { reason: 'invalid_token' },
    'the right key, but not in the list')
})

t.test('issuer, audience, times, subject and role must fit', async (t) => {
  const { tokens, sign, failures } = await createIssuer(t)
  const bad: Record<string, [Record<string, unknown>, LoginRefusal, string?]> = {
    'wrong audience': [{ aud: 'another' }, 'wrong_audience', 'band-1'],
    'no audience': [{ aud: undefined }, 'wrong_audience', 'band-1'],
    'wrong issuer': [{ iss: 'https://issuer.example.evil' }, 'wrong_issuer', 'band-1'],
    'no issuer': [{ iss: undefined }, 'wrong_issuer', 'band-1'],
    expired: [{ exp: nowS() - 60 }, 'expired', 'band-1'],
    'expired within the tolerance': [{ exp: nowS() - 1 }, 'expired', 'band-1'],
    'no expiry': [{ exp: undefined }, 'invalid_token', 'band-1'],
    'not yet valid': [{ nbf: nowS() + 60 }, 'invalid_token', 'band-1'],
    'no subject': [{ sub: undefined }, 'invalid_token'],
    'a subject that is not an id': [{ sub: 'a/+' }, 'invalid_token'],
    'a number for a subject': [{ sub: 17 }, 'invalid_token'],
    'a list for a subject': [{ sub: ['band-1'] }, 'invalid_token'],
    'true for a subject': [{ sub: true }, 'invalid_token'],
    'a subject of the prototype': [{ sub: '__proto__' }, 'invalid_token'],
    'no role': [{ role: undefined }, 'invalid_token'],
    'unknown role': [{ role: 'root' }, 'invalid_token'],
    'several roles': [{ role: ['device', 'admin'] }, 'invalid_token']
  }
  for (const [name, [changes, reason, principalId]] of Object.entries(bad)) {
    t.strictSame(await tokens.check(await sign(changes)), principalId === undefined ? { reason } : { reason, principalId }, name)
  }
  const stranger = await generateKeyPair('RS256')
  const foreign = await sign({ iss: 'https://another.example' }, { kid: 'theirs' }, stranger.privateKey)
  t.strictSame(await tokens.check(foreign), { reason: 'wrong_issuer' }, 'and its other claims are not read')
  t.match(await tokens.check(await sign({ aud: ['another', AUDIENCE] })), { principal: { id: 'band-1' } })
  t.same(failures, [], 'none of them is a failure of the gateway')
})

t.test('a changed token is not taken for the cached one', async (t) => {
  const { tokens, sign } = await createIssuer(t)
  const token = await sign()
  await tokens.check(token)
  const [head, , signature] = token.split('.')
  const forged = base64url({ sub: 'band-2', role: 'admin', iss: ISSUER, aud: AUDIENCE, exp: nowS() + 60 })
  t.strictSame(await tokens.check(`${head}.${forged}.${signature}`), { reason: 'wrong_signature' })
})

t.test('a cached token ends when it expires', async (t) => {
  const { tokens, sign } = await createIssuer(t)
  const token = await sign({ exp: nowS() + 1 })
  t.match(await tokens.check(token), { principal: { id: 'band-1' } })
  await new Promise((resolve) => setTimeout(resolve, 1100))
  t.strictSame(await tokens.check(token), { reason: 'expired', principalId: 'band-1' })
})

t.test('keys by URL: without an answer of the issuer its last keys are used, then tokens are unavailable, not wrong', async (t) => {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
  let isAway = true
  let requests = 0
  const server = createServer((_request, response) => {
    requests++
    if (isAway) response.writeHead(500).end()
    else {
      exportJWK(publicKey).then((jwk) => response.end(JSON.stringify({
        keys: [{
          ...jwk, kid: 'e', alg: 'ES256'
        }]
      })), () => response.destroy())
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
  t.teardown(() => { server.close() })
  const failures: unknown[] = []
  const tokens = createTokens({
    keys: await createKeySet(`http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks`, {
      ageMaxMs: 0, cooldownMs: 0, trustedMs: 1500
    }),
    issuer: ISSUER,
    audience: AUDIENCE,
    algorithms: ['ES256'],
    roleClaim: 'vital_role',
    onFailure: (error) => failures.push(error)
  })
  const sign = (id: string) => new SignJWT({ vital_role: 'operator' }).setProtectedHeader({ alg: 'ES256', kid: 'e' })
    .setSubject(id).setIssuer(ISSUER).setAudience(AUDIENCE).setExpirationTime('1m').sign(privateKey)
  t.equal(await tokens.check(await sign('ann')), 'unavailable')
  t.equal(failures.length, 1)
  isAway = false
  t.match(await tokens.check(await sign('ann')), { principal: { id: 'ann', role: 'operator' } })
  isAway = true
  t.match(await tokens.check(await sign('bob')), { principal: { id: 'bob', role: 'operator' } })
  t.equal(requests, 3, 'the issuer was asked each time')
  await new Promise((resolve) => setTimeout(resolve, 1600))
  t.equal(await tokens.check(await sign('ann')), 'unavailable', 'after a while the last keys are not used any more')
  isAway = false
  t.match(await tokens.check(await sign('ann')), { principal: { id: 'ann' } })
})

t.test('an answer of the issuer is bounded while it is read, and then its connection ends', async (t) => {
  let sent = 0
  let told = () => {}
  const closed = new Promise<void>((resolve) => { told = resolve })
  const server = createServer((_request, response) => {
    response.on('close', () => { told() })
    const chunk = ' '.repeat(64 * 1024)
    const send = () => {
      // Without a bound the reader would take all of it, and then find the keys.
      for (; sent < 1024; sent++) if (!response.write(chunk)) { sent++; response.once('drain', send); return }
      response.end('{"keys":[]}')
    }
    send()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
  t.teardown(() => { server.close() })
  const failures: unknown[] = []
  const keys = await createKeySet(`http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks`, {
    onFailure: (error) => failures.push(error)
  })
  await t.rejects(keys.getKey({ alg: 'ES256' }, { payload: '', signature: '' }), /answers more than 1048576 bytes/)
  t.equal(failures.length, 1)
  await closed
  t.ok(sent < 1024, `${sent} of 1,024 parts of 64 KiB were sent`)
})

t.test('a file without a key set stops the start', async (t) => {
  const file = join(await createTestDir(t), 'jwks.json')
  await t.rejects(createKeySet(file), { code: 'ENOENT' })
  await writeFile(file, '{"keys": 1}')
  await t.rejects(createKeySet(file))
})

t.test('a key that is removed from the file is refused, cached tokens included', async (t) => {
  const keyPairs = await Promise.all(['one', 'two'].map(async (kid) => ({ kid, ...await generateKeyPair('ES256', { extractable: true }) })))
  const jwks = await Promise.all(keyPairs.map(async ({ kid, publicKey }) => ({ ...await exportJWK(publicKey), kid, alg: 'ES256' })))
  const file = join(await createTestDir(t), 'jwks.json')
  await writeFile(file, JSON.stringify({ keys: jwks }))
  let told = () => {}
  const removed = new Promise<void>((resolve) => { told = resolve })
  const keys = await createKeySet(file, { ageMaxMs: 20, cooldownMs: 0, onRemoved: () => { tokens.forget(); told() } })
  t.teardown(() => keys.stop())
  const tokens = createTokens({
    keys, issuer: ISSUER, audience: AUDIENCE, algorithms: ['ES256'], roleClaim: 'role', onFailure: (error) => { t.fail(String(error)) }
  })
  const [one, two] = await Promise.all(keyPairs.map(({ kid, privateKey }) => new SignJWT({ role: 'admin' }).setProtectedHeader({
    alg: 'ES256', kid
  })
    .setSubject(kid).setIssuer(ISSUER).setAudience(AUDIENCE).setExpirationTime('10m').sign(privateKey)))
  t.match(await tokens.check(one!), { principal: { id: 'one' } })
  t.match(await tokens.check(two!), { principal: { id: 'two' } })
  keys.start()
  await writeFile(file, JSON.stringify({ keys: jwks.slice(1) }))
  // The timer of the key set does not keep the process alive.
  const alive = setInterval(() => {}, 1000)
  await removed
  clearInterval(alive)
  t.strictSame(await tokens.check(one!), { reason: 'wrong_signature' })
  t.match(await tokens.check(two!), { principal: { id: 'two' } })
})
