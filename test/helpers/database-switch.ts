import pg from 'pg'
import type { Test } from 'tap'
import { createTestDatabase } from './postgres.ts'

/** A database that can be switched off, as by an administrator or a crash: connections end, and new ones are refused. */
export async function createDatabaseSwitch (t: Test) {
  const { connectionString, query } = await createTestDatabase(t)
  const url = new URL(connectionString)
  const name = url.pathname.slice(1)
  const admin = new pg.Client({ connectionString: Object.assign(new URL(url), { pathname: '/postgres' }).href })
  await admin.connect()
  const allow = (isAllowed: boolean) => admin.query(`alter database ${name} with allow_connections ${isAllowed}`)
  t.teardown(async () => {
    await allow(true)
    await admin.end()
  })
  return {
    connectionString,
    query,
    async off () {
      await allow(false)
      await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [name])
    },
    on: () => allow(true)
  }
}
