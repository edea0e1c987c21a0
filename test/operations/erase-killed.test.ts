/** An erasure at one of two gateways on a database. One of them is killed (SIGKILL) at each step. */
import t from 'tap'
import type { ErasureStep } from '../../src/operations/erasure-requests.ts'
import { createDatabaseSwitch } from '../helpers/database-switch.ts'
import { countsOf, DOOMED, drained, erase, leaveSpool, publish, spawnDoomed } from '../helpers/erasures.ts'
import { readLedger, startGateway } from '../helpers/gateway.ts'
import { spawnGateway } from '../helpers/gateway-process.ts'
import { createTestDatabase, createTestDir } from '../helpers/postgres.ts'
import { until } from '../helpers/until.ts'

// At `seen` and `awaited`, disk and tables are as at the step before, so these are left out.
for (const step of ['requested', 'marked', 'confirmed', 'deleted'] satisfies ErasureStep[]) {
  t.test(`the gateway that was asked dies when ${step}: the other one goes on`, { timeout: 90_000 }, async (t) => {
    const { connectionString, query } = await createTestDatabase(t)
    const variables = { DATABASE_URL: connectionString, VITAL_DATA_DIR: await createTestDir(t) }
    const other = await startGateway(t, { DATABASE_URL: connectionString })
    const asked = await spawnDoomed(t, variables, step)
    await publish(t, asked.mqttPort, 100)
    await publish(t, other.mqttPort, 200)
    await t.rejects(erase(asked.httpUrl), 'the answer does not come')
    t.strictSame(await asked.exited, [null, 'SIGKILL'])
    await until(async () => (await query('select from erasures where deleted_at is null')).length === 0, 'the erasure to be done', 30_000)
    t.strictSame(await countsOf(query), { b: 10 })
    const again = await startGateway(t, variables)
    await drained(again)
    t.strictSame(await countsOf(query), { b: 10 }, 'nothing comes back')
    t.match(await erase(again.httpUrl), { status: 200, readings: 0 }, 'and it may be asked again')
  })
}

t.test('another gateway dies at each step: it does not delay the erasure, and nothing of its spool comes back', {
  timeout: 90_000
}, async (t) => {
  const database = await createDatabaseSwitch(t)
  const { query } = database
  const variables = { DATABASE_URL: database.connectionString, VITAL_DATA_DIR: await createTestDir(t) }
  const asked = await startGateway(t, { DATABASE_URL: database.connectionString })
  await leaveSpool(t, database, variables)
  await until(async () => (await erase(asked.httpUrl)).status === 200, 'PostgreSQL to be back', 30_000)
  t.strictSame(await countsOf(query), { b: 5 })
  // The gateway handles the request at its start and dies at a step. The next start continues from what is written.
  for (const step of ['seen', 'marked', 'confirmed'] satisfies ErasureStep[]) {
    const dying = await spawnGateway(t, variables, { program: DOOMED, args: [step] })
    t.strictSame(await dying.exited, [null, 'SIGKILL'], step)
  }
  const again = await startGateway(t, variables)
  await drained(again)
  t.strictSame(await countsOf(query), { b: 10 })
  t.match(await readLedger(again.httpUrl), { balance: 0 })
})
