import { createHash } from 'node:crypto'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createDatabase } from '../../db/database.ts'
import { appendAuditLog } from '../../db/queries/append-audit-log.ts'
import { findPrincipals } from '../../db/queries/find-principals.ts'
import { findPrincipalsBySecret } from '../../db/queries/find-principals-by-secret.ts'
import { insertPrincipals } from '../../db/queries/insert-principals.ts'
import { revokePrincipals } from '../../db/queries/revoke-principals.ts'
import { rotateSecret } from '../../db/queries/rotate-secret.ts'
import { selectPrincipals } from '../../db/queries/select-principals.ts'
import { exactly } from '../helpers/exactly.ts'
import { createTestDatabase } from '../helpers/postgres.ts'

const sha256 = (text: string) => createHash('sha256').update(text).digest()

async function open (t: Test) {
  const { connectionString, query } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 2, logger: pino({ level: 'silent' }) })
  t.teardown(() => database.close())
  return { kysely: database.kysely, query }
}

t.test('a principal is added once, with its credential, and is found by its id and by its secret', async (t) => {
  const { kysely } = await open(t)
  t.same(await insertPrincipals(kysely, [
    { id: 'band-1', role: 'device', secretSha256: sha256('one') },
    { id: 'ann', role: 'operator', passwordArgon2id: '$argon2id$x' }
  ]).then((ids) => ids.sort()), ['ann', 'band-1'])
  t.same(await insertPrincipals(kysely, [
    { id: 'band-1', role: 'admin', secretSha256: sha256('another') }, { id: 'band-2', role: 'device', secretSha256: sha256('two') }
  ]), ['band-2'], 'existing principals stay as they are')
  const [band] = await findPrincipals(kysely, ['band-1', 'nobody'])
  t.match(band, {
    id: 'band-1',
    role: 'device',
    createdAt: Number,
    changedAt: Number,
    revokedAt: null,
    credentials: exactly({
      kind: 'secret', secretSha256: sha256('one').toString('hex'), passwordArgon2id: null, createdAt: Number, expiresAt: null
    })
  })
  t.equal(band?.credentials.length, 1)
  t.match(await findPrincipals(kysely, ['ann']),
    exactly({ role: 'operator', credentials: exactly({ kind: 'password', secretSha256: null, passwordArgon2id: '$argon2id$x' }) }))
  t.match(await findPrincipalsBySecret(kysely, [sha256('two'), sha256('another'), sha256('ann')]), exactly({ id: 'band-2' }))
  await t.rejects(insertPrincipals(kysely, [{ id: 'thief', role: 'device', secretSha256: sha256('one') }]), { code: '23505' })
  await t.rejects(insertPrincipals(kysely, [{ id: 'bare', role: 'device' }]), { code: '23514' })
  t.same(await findPrincipals(kysely, ['thief', 'bare']), [], 'nothing of a refused statement is left')
})

t.test('rotation: the new secret is valid at once, the old one until its grace period ends', async (t) => {
  const { kysely } = await open(t)
  await insertPrincipals(kysely, [{ id: 'a', role: 'device', secretSha256: sha256('old') }])
  const [before] = await findPrincipals(kysely, ['a'])
  t.equal(await rotateSecret(kysely, { id: 'a', secretSha256: sha256('new'), graceS: 3600 }), true)
  const [after] = await findPrincipals(kysely, ['a'])
  t.ok(after!.changedAt > before!.changedAt)
  const [old, fresh] = after!.credentials
  t.equal(old?.secretSha256, sha256('old').toString('hex'))
  t.ok(Math.abs((old?.expiresAt ?? 0) - Date.now() / 1000 - 3600) < 60)
  t.match(fresh, { secretSha256: sha256('new').toString('hex'), expiresAt: null })

  await rotateSecret(kysely, { id: 'a', secretSha256: sha256('newer'), graceS: 7200 })
  const [again] = await findPrincipals(kysely, ['a'])
  t.equal(again!.credentials[0]?.expiresAt, old?.expiresAt, 'an expiry is never postponed')
  t.equal(await rotateSecret(kysely, { id: 'nobody', secretSha256: sha256('x'), graceS: 0 }), false)
})

t.test('revocation deletes the credentials and keeps the id taken', async (t) => {
  const { kysely } = await open(t)
  await insertPrincipals(kysely,
    [{ id: 'a', role: 'device', secretSha256: sha256('a') }, { id: 'b', role: 'device', secretSha256: sha256('b') }])
  t.same(await revokePrincipals(kysely, ['a', 'nobody']), ['a'])
  t.same(await revokePrincipals(kysely, ['a']), [], 'once')
  t.match(await findPrincipals(kysely, ['a']), exactly({ revokedAt: Number, credentials: exactly() }))
  t.same(await findPrincipalsBySecret(kysely, [sha256('a')]), [])
  t.same(await insertPrincipals(kysely, [{ id: 'a', role: 'device', secretSha256: sha256('again') }]), [])
  t.equal(await rotateSecret(kysely, { id: 'a', secretSha256: sha256('new'), graceS: 0 }), false)
  t.match(await findPrincipals(kysely, ['b']), exactly({ revokedAt: null }))
})

t.test('pages hold every principal once, and one role when asked', async (t) => {
  const { kysely } = await open(t)
  await insertPrincipals(kysely, Array.from({ length: 25 }, (_, index) => (
    { id: `p${index}`, role: index % 5 === 0 ? 'operator' as const : 'device' as const, secretSha256: sha256(`${index}`) })))
  const ids: string[] = []
  for (let after = ''; ;) {
    const page = await selectPrincipals(kysely, { count: 7, after })
    if (page.length === 0) break
    ids.push(...page.map(({ id }) => id))
    after = ids.at(-1)!
  }
  t.equal(ids.length, 25)
  t.equal(new Set(ids).size, 25)
  t.same((await selectPrincipals(kysely, { count: 100, role: 'operator' })).map(({ id }) => id), ['p0', 'p10', 'p15', 'p20', 'p5'])
})

t.test('an act and its line in the audit log are committed or rolled back together', async (t) => {
  const { kysely, query } = await open(t)
  await t.rejects(kysely.transaction().execute(async (transaction) => {
    await appendAuditLog(transaction, { actor: 'cli:root@host', act: 'credentials.revoke', target: 'a' })
    throw new Error('the act failed')
  }))
  await appendAuditLog(kysely, { actor: 'ann', act: 'credentials.import', details: { added: 2 } })
  t.match(await query('select actor, act, target, details from audit_log'),
    exactly({ actor: 'ann', act: 'credentials.import', target: null, details: { added: 2 } }))
  t.equal((await query('select 1 from audit_log')).length, 1)
})
