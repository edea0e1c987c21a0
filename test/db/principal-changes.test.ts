import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createDatabase } from '../../db/database.ts'
import { forgetPrincipalChanges } from '../../db/queries/forget-principal-changes.ts'
import { insertPrincipals } from '../../db/queries/insert-principals.ts'
import { type ChangePosition, readChangeState } from '../../db/queries/read-change-state.ts'
import { revokePrincipals } from '../../db/queries/revoke-principals.ts'
import { rotateSecret } from '../../db/queries/rotate-secret.ts'
import { selectChangedPrincipals } from '../../db/queries/select-changed-principals.ts'
import { exactly } from '../helpers/exactly.ts'
import { createTestDatabase } from '../helpers/postgres.ts'

const sha256 = (text: string) => createHash('sha256').update(text).digest()

async function open (t: Test) {
  const { connectionString, query } = await createTestDatabase(t)
  const { kysely, close } = createDatabase({
    connectionString, poolSize: 4, logger: pino({ level: 'silent' }), statementTimeoutMs: 60_000, queryTimeoutMs: 61_000
  })
  t.teardown(() => close())
  let since: ChangePosition | null = null
  /** The changes that a gateway reads now, in pages of one row. */
  const look = async (): Promise<string[] | 'unknown'> => {
    const state = await readChangeState(kysely, since)
    const before = since
    since = state
    if (state.isUnknown || before === null) return 'unknown'
    const ids = new Set<string>()
    for (let after = 0; state.hasChanged;) {
      const [row] = await selectChangedPrincipals(kysely, { since: before.snapshot, until: state.snapshot, after, count: 1 })
      if (row === undefined) break
      if (row.principals.length === 0) return 'unknown'
      for (const id of row.principals) ids.add(id)
      after = row.id
    }
    return [...ids].sort()
  }
  const add = (...ids: string[]) => insertPrincipals(kysely, ids.map((id) => ({ id, role: 'device' as const, secretSha256: sha256(id) })))
  /** Waits until every snapshot sees our rows. An older transaction of another test file on the same server delays that. */
  const untilSettled = async () => {
    const unsettled = `select from principal_changes
      where xid >= pg_snapshot_xmin(pg_current_snapshot()) and xid < pg_snapshot_xmax(pg_current_snapshot())`
    while ((await query(unsettled)).length > 0) await sleep(20)
  }
  return { connectionString, kysely, query, look, add, untilSettled }
}

/** A connection whose transaction writes and stays open. */
async function openTransaction (t: Test, connectionString: string, statement: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  t.teardown(() => client.end())
  await client.query('begin')
  await client.query(statement)
  return client
}

t.test('each change is reported once, after its COMMIT, however it was made', async (t) => {
  const { kysely, query, look, add } = await open(t)
  t.equal(await look(), 'unknown', 'the first time')
  t.same(await look(), [])
  await add('a', 'b')
  t.same(await look(), ['a', 'b'])
  t.same(await look(), [])
  await add('a')
  t.same(await look(), [], 'without a change')
  await rotateSecret(kysely, { id: 'a', secretSha256: sha256('new'), graceS: 0 })
  await revokePrincipals(kysely, ['b', 'nobody'])
  t.same(await look(), ['a', 'b'])
  await query('update principals set role = \'operator\' where id = \'a\'')
  t.same(await look(), ['a'], 'by hand, without a stamp')
  await query('update credentials set expires_at = now() where principal = \'a\'')
  t.same(await look(), ['a'])
  await query('delete from principals where id = \'b\'')
  t.same(await look(), ['b'])
  await kysely.transaction().execute(async (transaction) => {
    await revokePrincipals(transaction, ['a'])
    throw new Error('rolled back')
  }).catch(() => {})
  t.same(await look(), [])
  await query('truncate principals cascade')
  t.equal(await look(), 'unknown')
})

t.test('a transaction that commits after later ones is reported then', async (t) => {
  const { connectionString, query, look, add } = await open(t)
  await add('slow', 'quick')
  await look()
  const slow = await openTransaction(t, connectionString,
    'update principals set revoked_at = now(), changed_at = now() - interval \'1 minute\' where id = \'slow\'')
  await slow.query('savepoint s')
  await slow.query('delete from credentials where principal = \'slow\'')
  t.same(await look(), [])
  await query('update principals set role = \'operator\' where id = \'quick\'')
  t.same(await look(), ['quick'])
  t.same(await look(), [])
  await slow.query('commit')
  t.same(await look(), ['slow'])
  t.same(await look(), [])
})

t.test('a transaction that stays open in another database neither hides nor repeats a change', async (t) => {
  const { look, add } = await open(t)
  const other = await createTestDatabase(t)
  await look()
  const stranger = await openTransaction(t, other.connectionString, 'create table held (n int)')
  for (let round = 0; round < 3; round++) {
    await add(`a${round}`)
    t.same(await look(), [`a${round}`])
    t.same(await look(), [])
  }
  await stranger.query('rollback')
  t.same(await look(), [])
  await add('b')
  t.same(await look(), ['b'])
})

t.test('70,000 changes in one transaction become a few rows of bounded size', async (t) => {
  const { kysely, query, look } = await open(t)
  await query('insert into principals (id, role) select \'device-\' || n, \'device\' from generate_series(1, 70000) n')
  await query('insert into credentials (principal, kind, secret_sha256) select id, \'secret\', sha256(id::bytea) from principals')
  await look()
  const ids = Array.from({ length: 70_000 }, (_, index) => `device-${index + 1}`)
  t.equal((await revokePrincipals(kysely, ids)).length, 70_000)
  t.equal((await look()).length, 70_000)
  t.match(await query('select count(*)::int as rows, max(cardinality(principals)) as most from principal_changes where xid = (select ' +
    'max(xid::text::int8)::text::xid8 from principal_changes)'),
  exactly({ rows: 280, most: 500 }))
})

t.test('changes that were forgotten before a gateway saw them make all principals unknown; changes that it saw do not', async (t) => {
  const { connectionString, kysely, query, look, add, untilSettled } = await open(t)
  await add('a', 'b')
  await untilSettled()
  await look()
  const old = 'update principal_changes set at = now() - interval \'2 hours\''
  await query(old)
  await forgetPrincipalChanges(kysely)
  t.same(await query('select 1 from principal_changes'), [])
  t.same(await look(), [], 'the change was seen before')
  await add('c')
  await query(old)
  await untilSettled()
  await forgetPrincipalChanges(kysely)
  t.equal(await look(), 'unknown')
  t.same(await look(), [])
  await add('d')
  await forgetPrincipalChanges(kysely)
  await untilSettled()
  t.same(await look(), ['d'], 'changes of the last hour are kept')

  // While a transaction is open, later changes are kept.
  const slow = await openTransaction(t, connectionString, 'update principals set role = \'operator\' where id = \'a\'')
  await add('e')
  await query(old)
  await forgetPrincipalChanges(kysely)
  t.same(await look(), ['e'])
  await slow.query('commit')
  t.same(await look(), ['a'])
})

t.test('transaction ids of another server, from a restored dump, change nothing', async (t) => {
  const { kysely, query, look, add, untilSettled } = await open(t)
  await query('insert into principal_changes (xid, at, principals) values (\'999999999999\', now(), \'{old}\')')
  await query('update principal_changes_forgotten set xid = \'999999999998\'')
  await look()
  await add('a')
  await untilSettled()
  t.same(await look(), ['a'])
  await query('update principal_changes set at = now() - interval \'2 hours\'')
  await add('b')
  await forgetPrincipalChanges(kysely)
  t.same(await look(), ['b'])
  t.same(await query('select xid < pg_snapshot_xmax(pg_current_snapshot()) as "isOurs" from principal_changes_forgotten'),
    [{ isOurs: true }])
})

t.test('another server, or a table that was recreated, makes all principals unknown', async (t) => {
  const { kysely, query } = await open(t)
  const state = await readChangeState(kysely, null)
  t.match(await readChangeState(kysely, state), { isUnknown: false })
  t.match(await readChangeState(kysely, { ...state, server: 'another' }), { isUnknown: true })
  await query('alter table principal_changes rename to former')
  await query('create table principal_changes (like former including all)')
  t.match(await readChangeState(kysely, state), { isUnknown: true })
})
