import t from 'tap'
import type { Authentication } from '../../broker/connect/credentials.ts'
import type { LoginRefusal } from '../../broker/connect/login-refusals.ts'
import type { StoredPrincipal } from '../../db/queries/principal-columns.ts'
import type { Role } from '../../schemas/principal.ts'
import type { AccessMode } from '../../src/security/access.ts'
import { createAuthenticator } from '../../src/security/authenticator.ts'
import { createDirectory } from '../../src/security/directory.ts'
import { createPasswords } from '../../src/security/passwords.ts'
import { digestOf, generateSecret } from '../../src/security/secrets.ts'
import type { Tokens } from '../../src/security/tokens.ts'

interface Someone {
  readonly id: string
  readonly role?: Role
  readonly secret?: string
  readonly password?: string
  readonly isRevoked?: boolean
  readonly expiresAt?: number
}

const toRow = ({ id, role = 'device', secret, password, isRevoked = false, expiresAt }: Someone): StoredPrincipal => ({
  id,
  role,
  createdAt: 1,
  changedAt: 1,
  revokedAt: isRevoked ? 1 : null,
  credentials: [{
    kind: secret === undefined ? 'password' : 'secret',
    secretSha256: secret === undefined ? null : Buffer.from(digestOf(secret), 'latin1').toString('hex'),
    passwordArgon2id: password ?? null,
    createdAt: 1,
    expiresAt: expiresAt ?? null
  }]
})

/** An authenticator that compares passwords as plain text, and whose tokens are `eyJ.{id}.{role}`. */
function create (people: Someone[], { mode = 'closed' as AccessMode } = {}) {
  const logins: string[] = []
  const asked: string[] = []
  const directory = createDirectory({
    findByIds: (ids) => { asked.push(...ids); return Promise.resolve(people.filter(({ id }) => ids.includes(id)).map(toRow)) },
    findByDigests: (digests) => {
      asked.push(...digests)
      return Promise.resolve(people.filter(({ secret }) => secret !== undefined && digests.includes(digestOf(secret))).map(toRow))
    },
    onFailure: () => {}
  })
  const checked: string[] = []
  const passwords = createPasswords({
    verify: (hash, password) => {
      checked.push(hash)
      return Promise.resolve(hash === password.toString())
    }
  })
  const tokens: Tokens = {
    check (token) {
      const [, id = '', role] = token.split('.')
      return role === 'device' || role === 'operator' ? { principal: { id, role }, expiresAtMs: 9e15 } : { reason: 'invalid_token' }
    },
    isKnown: (token) => token.includes('.known.'),
    forget () {}
  }
  const authenticator = createAuthenticator({
    mode: () => mode, directory, passwords, tokens, onLogin: ({ transport, outcome }) => logins.push(`${transport} ${outcome}`)
  })
  const mqtt = (username: string | undefined, password: string | undefined, clientId = username ??
    'c', certificateNames: string[] = []) => authenticator.authenticateMqtt({
    clientId,
    username,
    password: password === undefined
      ? undefined
      : Buffer.from(password),
    origin: { transport: 'tls', remoteAddress: '192.0.2.1', certificateNames },
    isRetry: false,
    isOver: false
  })
  return { authenticator, mqtt, logins, asked, checked, directory }
}

const accepted = (id: string, role: Role = 'device') => ({ status: 'accepted', principal: { id, role } })
const refused = (reason: LoginRefusal, principalId?: string) => principalId === undefined
  ? { status: 'refused', reason }
  : { status: 'refused', reason, principalId }

t.test('cached principals are answered without a promise, over both transports', async (t) => {
  const secret = generateSecret()
  const { mqtt, authenticator, logins } = create([{ id: 'a', secret }])
  t.ok(mqtt('a', secret) instanceof Promise, 'it is looked up the first time')
  t.match(await mqtt('a', secret), accepted('a'))
  for (const answer of [
    mqtt('a', secret), authenticator.authenticateHttp({ authorization: `bearer ${secret}` }),
    authenticator.authenticateHttp({ 'x-api-key': secret })
  ]) {
    t.notOk(answer instanceof Promise)
    t.match(answer, accepted('a'))
  }
  t.same(logins.slice(-3), ['mqtt accepted', 'http accepted', 'http accepted'])
})

t.test('without leave to look up, only credentials that are known in memory are answered', async (t) => {
  const [secret, wrong] = [generateSecret(), generateSecret()]
  const { authenticator: { authenticateHttp, authenticateGrpc }, asked, logins } = create([{ id: 'a', secret }, { id: 'c' }])
  const never = () => false
  for (const credential of [secret, wrong, 'eyJ0.ann.operator']) {
    const headers = { authorization: `Bearer ${credential}` }
    t.strictSame(authenticateHttp(headers, never), { status: 'unavailable', isUnasked: true })
    t.strictSame(authenticateGrpc(headers, [], never), { status: 'unavailable', isUnasked: true })
  }
  await new Promise((resolve) => { setTimeout(resolve, 50) })
  t.strictSame(asked, [], 'nothing is asked, not even after the answer')
  t.strictSame(logins, [])
  t.match(await authenticateHttp({ 'x-api-key': secret }), accepted('a'))
  t.match(await authenticateHttp({ 'x-api-key': wrong }), refused('wrong_secret'))
  t.match(authenticateHttp({ 'x-api-key': secret }, never), accepted('a'))
  t.match(authenticateHttp({ 'x-api-key': wrong }, never), refused('wrong_secret'))
  t.match(await authenticateHttp({ authorization: 'Bearer eyJ0.known.operator' }, never), accepted('known', 'operator'))
  t.match(await authenticateGrpc({}, ['c'], never), accepted('c'), 'a valid certificate is no guess')
})

t.test('wrong credentials are refused; the log has the reason, and the id only if the principal exists', async (t) => {
  const [secret, other] = [generateSecret(), generateSecret()]
  const [gone, old] = [generateSecret(), generateSecret()]
  const people = [
    {
      id: 'a', secret
    }, { id: 'b', secret: other }, { id: 'gone', secret: gone, isRevoked: true }, { id: 'old', secret: old, expiresAt: 1 },
    { id: 'ann', password: 'x', expiresAt: 1 }, { id: 'bob', password: 'x', isRevoked: true }
  ]
  const { mqtt, authenticator: { authenticateHttp } } = create(people)
  const cases: Array<[Authentication | Promise<Authentication>, LoginRefusal, string?]> = [
    [mqtt('a', other), 'wrong_secret', 'a'], [mqtt('a', ''), 'wrong_secret', 'a'], [mqtt('a', `${secret} `), 'wrong_secret', 'a'],
    [mqtt('nobody', secret), 'unknown_id'], [mqtt('nobody', 'x'), 'unknown_id'], [mqtt('a\0', secret), 'unknown_id'],
    [mqtt('__proto__', secret), 'unknown_id'],
    [mqtt('', secret), 'unknown_id'], [mqtt(undefined, secret), 'malformed'],
    [mqtt('a', undefined), 'no_credentials'], [mqtt(undefined, undefined), 'no_credentials'],
    [mqtt('gone', gone), 'revoked', 'gone'], [mqtt('bob', 'x'), 'revoked', 'bob'], [mqtt('old', old), 'expired', 'old'],
    [mqtt('old', secret), 'wrong_secret', 'old'],
    [mqtt('ann', 'x'), 'expired', 'ann'],
    [authenticateHttp({}), 'no_credentials'], [authenticateHttp({ 'x-api-key': [secret] as never }), 'no_credentials'],
    ...[
      { authorization: secret }, { authorization: 'Bearer' }, { authorization: `Bearer ${secret} ${secret}` },
      { authorization: `Basic ${secret}` }, { 'x-api-key': 'x' }, { authorization: 'Bearer x', 'x-api-key': secret }
    ].map((headers): [Authentication | Promise<Authentication>, LoginRefusal] => [authenticateHttp(headers), 'malformed']),
    [authenticateHttp({ 'x-api-key': generateSecret() }), 'wrong_secret'],
    [authenticateHttp({ 'x-api-key': gone }), 'revoked', 'gone'], [authenticateHttp({ 'x-api-key': old }), 'expired', 'old']
  ]
  for (const [index, [answer, ...expected]] of cases.entries()) t.strictSame(await answer, refused(...expected), `case ${index}`)
})

t.test('a password is hashed also for an unknown principal', async (t) => {
  const { mqtt, checked } = create([{
    id: 'ann', role: 'operator', password: 'correct horse'
  }, { id: 'a', secret: generateSecret() }, { id: 'gone', password: 'x', isRevoked: true }])
  t.match(await mqtt('ann', 'correct horse'), accepted('ann', 'operator'))
  t.notOk(mqtt('ann', 'correct horse') instanceof Promise)
  checked.length = 0
  for (const name of ['ann', 'a', 'gone', 'nobody']) t.match(await mqtt(name, 'battery staple'), { status: 'refused' })
  t.equal(checked.length, 4)
})

t.test('the result of a slow password check is discarded when its principal has changed meanwhile', async (t) => {
  const { mqtt, directory } = create([{ id: 'ann', role: 'operator', password: 'correct horse' }])
  await directory.find('ann')
  const answer = mqtt('ann', 'correct horse')
  directory.drop(['ann'])
  t.strictSame(await answer, { status: 'unavailable' })
  t.match(await mqtt('ann', 'correct horse'), accepted('ann', 'operator'))
})

t.test('a client certificate authenticates the device of its name', async (t) => {
  const secret = generateSecret()
  const { mqtt } = create([{ id: 'gone', isRevoked: true }, { id: 'ann', role: 'operator', secret }])
  t.match(await mqtt(undefined, undefined, 'band-1', ['other', 'band-1']), accepted('band-1'))
  t.match(await mqtt('band-1', undefined, 'band-1', ['band-1']), accepted('band-1'))
  t.strictSame(await mqtt(undefined, undefined, 'band-2', ['band-1']), refused('wrong_client_id'), 'not another device')
  t.strictSame(await mqtt('band-2', undefined, 'band-1', ['band-1']), refused('wrong_client_id'))
  t.strictSame(await mqtt(undefined, undefined, 'gone', ['gone']), refused('revoked', 'gone'), 'revoked')
  t.strictSame(await mqtt(undefined, undefined, 'ann', ['ann']), refused('not_allowed', 'ann'), 'and no role but device')
  t.strictSame(await mqtt(undefined, undefined, 'a/#', ['a/#']), refused('wrong_client_id'))
  t.match(await mqtt('ann', secret, 'band-1', ['band-1']), accepted('ann', 'operator'), 'a person on a device\'s machine')
})

t.test('a token is accepted with its subject as the user name or without one, and its expiry ends the session', async (t) => {
  const { mqtt, authenticator } = create([{ id: 'gone', isRevoked: true }])
  t.match(await mqtt('band-1', 'eyJ0.band-1.device'), { ...accepted('band-1'), expiresAtMs: 9e15 })
  t.match(await mqtt(undefined, 'eyJ0.ann.operator'), accepted('ann', 'operator'))
  t.strictSame(await mqtt('band-2', 'eyJ0.band-1.device'), refused('wrong_user_name', 'band-1'))
  t.strictSame(await mqtt('gone', 'eyJ0.gone.device'), refused('revoked', 'gone'))
  t.strictSame(await mqtt('band-1', 'eyJ0.band-1.root'), refused('invalid_token'))
  t.match(await authenticator.authenticateHttp({ authorization: 'Bearer eyJ0.ann.operator' }), accepted('ann', 'operator'))
})

t.test('the open mode checks nothing; before the mode is known, and while exposed, every client is told to retry', (t) => {
  const open = create([], { mode: 'open' })
  t.strictSame(open.mqtt(undefined, undefined), { status: 'accepted', principal: null })
  t.strictSame(open.mqtt('a', 'wrong'), { status: 'accepted', principal: null })
  t.strictSame(open.authenticator.authenticateHttp({}), { status: 'accepted', principal: null })
  for (const mode of ['unknown', 'exposed'] as const) {
    const { mqtt, authenticator, asked } = create([], { mode })
    t.strictSame(mqtt('a', generateSecret()), { status: 'unavailable' })
    t.strictSame(mqtt(undefined, undefined, 'a', ['a']), { status: 'unavailable' })
    t.strictSame(authenticator.authenticateHttp({}), { status: 'unavailable' })
    t.same(asked, [])
  }
  t.end()
})
