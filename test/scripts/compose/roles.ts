import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import type { Test } from 'tap'
import { createTestDatabase } from '../../helpers/postgres.ts'
import { ROOT } from '../../helpers/program.ts'

/**
 * An empty database with the roles of the gateway and of Grafana, as `roles.sql` makes it when compose starts for the first
 * time. The names of the roles get a suffix, because roles belong to the server, which other tests use as well.
 * @returns the connection strings of the two roles
 */
export async function createComposeDatabase (t: Test): Promise<{ readonly gatewayUrl: string, readonly grafanaUrl: string }> {
  const { connectionString } = await createTestDatabase(t)
  const ending = randomBytes(4).toString('hex')
  const toUrl = (role: string) => Object.assign(new URL(connectionString), {
    username: `${role}_${ending}`, password: role, pathname: `/vital_${ending}`
  }).href
  const asSuperuser = async (database: string | null, statements: readonly string[]) => {
    const client = new pg.Client({
      connectionString: database === null ? connectionString : Object.assign(new URL(connectionString), { pathname: `/${database}` }).href,
      application_name: 'test'
    })
    await client.connect()
    try {
      for (const statement of statements) await client.query(statement)
    } finally {
      await client.end()
    }
  }
  // Splits the file and replaces its variables, as psql does.
  const [cluster = '', database = ''] = (await readFile(join(ROOT, 'scripts/compose/postgres/roles.sql'), 'utf8'))
    .replaceAll(/^\\getenv .*$/gm, '')
    .replaceAll(/\b(vital|grafana)\b/g, `$1_${ending}`)
    .replace(":'gateway_password'", "'vital'")
    .replace(":'grafana_password'", "'grafana'")
    .split(`\\connect vital_${ending}\n`)
  t.teardown(() => asSuperuser(null, [
    `drop database if exists vital_${ending} with (force)`, `drop role if exists vital_${ending}`, `drop role if exists grafana_${ending}`
  ]))
  await asSuperuser(null, cluster.split(/;$/m).filter((statement) => statement.trim() !== ''))
  await asSuperuser(`vital_${ending}`, [database])
  return { gatewayUrl: toUrl('vital'), grafanaUrl: toUrl('grafana') }
}

/** @returns a function that runs statements on one connection, closed when the test ends */
export async function connectPostgres (t: Test, connectionString: string) {
  const client = new pg.Client({ connectionString, application_name: 'Grafana' })
  // Dropping the database may end the connection.
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.end())
  return async (text: string): Promise<Array<Record<string, unknown>>> => (await client.query<Record<string, unknown>>(text)).rows
}
