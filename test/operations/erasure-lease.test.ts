import { pino } from 'pino'
import t from 'tap'
import { createDatabase } from '../../db/database.ts'
import { insertErasure } from '../../db/erase/erasure-requests.ts'
import { ErasureLease } from '../../src/operations/erasure-lease.ts'
import { createTestDatabase } from '../helpers/postgres.ts'

t.test('a gateway that has not looked for a while looks before it writes, and does not write while a request waits', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 1, logger: pino({ level: 'silent' }), applicationName: 'test' })
  t.teardown(() => database.close())
  const lease = new ErasureLease(database.kysely)
  t.equal(lease.mayWrite(), null, 'not registered yet, so nothing is written anyway')
  lease.seen = 0
  const looking = lease.mayWrite()
  t.ok(looking instanceof Promise)
  t.equal(lease.mayWrite(), looking, 'concurrent writes share one look')
  await looking
  t.equal(lease.mayWrite(), null, 'for a while')

  const id = await insertErasure(database.kysely, { device: 'a', actor: 'me', coordinator: 'other' })
  t.equal(lease.mayWrite(), null, 'the coordinator waits longer than this')
  const behind = new ErasureLease(database.kysely)
  behind.seen = id - 1
  behind.renew(performance.now() - 5001)
  await t.rejects(behind.mayWrite()!, { code: 'VITAL_ERASURE_PENDING' })
  await t.rejects(behind.mayWrite()!, { code: 'VITAL_ERASURE_PENDING' }, 'until the gateway has handled the request')
  behind.seen = id
  await behind.mayWrite()
  t.equal(behind.mayWrite(), null)
})
