import { appendFile, cp, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Logger } from 'pino'
import { chooseAccount, giveTo } from '../../db/embedded/account.ts'
import { resolveBinaries } from '../../db/embedded/binaries.ts'
import { type Cluster, clusterDirOf, findFreePort, openCluster, savePort, USER } from '../../db/embedded/cluster.ts'
import { type RunningServer, type ServerOptions, startServer, toConnectionString } from '../../db/embedded/postmaster.ts'
import { findPostgresBelow } from './belongings.ts'
import type { Query } from './checks/stored.ts'

const STOP_TIMEOUT_MS = 15_000
const START_TIMEOUT_MS = 60_000
/** Enough to count or to drop 12 million readings on a slow disk. */
const QUERY_TIMEOUT_MS = 300_000
/** Keeps the log for the replica while that is away. */
const SLOT = 'replica_1'
/** `all` in the rule of the embedded server does not mean replication. */
const REPLICATION_RULE = `host replication ${USER} 127.0.0.1/32 scram-sha-256\n`

/** A PostgreSQL that only the harness restarts. */
export class OwnPostgres {
  readonly #cluster: Cluster
  readonly #options: ServerOptions
  #server: RunningServer | null = null

  constructor (cluster: Cluster, options: ServerOptions) {
    this.#cluster = cluster
    this.#options = options
  }

  static async create (dir: string, logger: Logger): Promise<OwnPostgres> {
    const dataDir = join(dir, 'own')
    await mkdir(dataDir, { recursive: true, mode: 0o700 })
    const binaries = await resolveBinaries({ linksDir: join(dataDir, 'postgres-lib') })
    const { account, major } = await chooseAccount({ binaries, dataDir, clusterDir: clusterDirOf(dataDir), logger })
    const cluster = await openCluster({ dataDir, binaries, account, major })
    const postgres = new OwnPostgres(cluster, { binaries, account, startLogPath: join(dataDir, 'start.log'), logger })
    await postgres.start()
    return postgres
  }

  /**
   * Makes a streaming replica, which is started, of its files while it is down. npm's binaries have no pg_basebackup, and
   * that of another major version refuses this server.
   * @param dir - of the run
   */
  async replicate (dir: string): Promise<OwnPostgres> {
    const { account } = this.#options
    const { port, password } = this.#cluster
    const dataDir = join(dir, 'replica')
    const copy = clusterDirOf(dataDir)
    await createQuery(this.url)('select pg_create_physical_replication_slot($1, true)', [SLOT])
    await appendFile(join(this.dir, 'pg_hba.conf'), REPLICATION_RULE)
    await this.stop('SIGINT')
    await mkdir(dataDir, { mode: 0o711 })
    await cp(this.dir, copy, { recursive: true })
    await rm(join(copy, 'pg_replslot', SLOT), { recursive: true })
    const primary = `host=127.0.0.1 port=${port} user=${USER} password=${password} sslmode=disable gssencmode=disable`
    await appendFile(join(copy, 'postgresql.auto.conf'), `primary_conninfo = '${primary}'\nprimary_slot_name = '${SLOT}'\n`)
    await writeFile(join(copy, 'standby.signal'), '')
    const cluster = await savePort({ dir: copy, password, port }, await findFreePort())
    await giveTo(account, copy)
    const replica = new OwnPostgres(cluster, { ...this.#options, startLogPath: join(dataDir, 'start.log') })
    await this.start()
    await replica.start()
    return replica
  }

  get url (): string { return toConnectionString(this.#cluster) }

  get dir (): string { return this.#cluster.dir }

  get isRunning (): boolean { return this.#server !== null }

  async start (): Promise<void> {
    this.#server ??= await startServer(this.#cluster, this.#options, { mayMovePort: false, signal: AbortSignal.timeout(START_TIMEOUT_MS) })
  }

  /** Starts a server that has ended. @returns whether it had */
  async startAgain (): Promise<boolean> {
    if (this.#server === null || findPostgresBelow(this.#cluster.dir).length > 0) return false
    this.#server = null
    await this.start()
    return true
  }

  /** `SIGINT` shuts down in order, `SIGQUIT` at once as `pg_ctl stop -m immediate`, `SIGKILL` crashes. */
  async stop (signal: 'SIGINT' | 'SIGQUIT' | 'SIGKILL'): Promise<void> {
    const server = this.#server
    if (server === null) return
    this.#server = null
    process.kill(server.pid, signal)
    const deadlineMs = performance.now() + STOP_TIMEOUT_MS
    while (findPostgresBelow(this.#cluster.dir).length > 0) {
      if (performance.now() > deadlineMs) throw new Error(`PostgreSQL did not end in ${STOP_TIMEOUT_MS} ms after ${signal}`)
      await sleep(30)
    }
  }
}

/** Freezes every process of the PostgreSQL below `dir`. @returns a function that continues them */
export function freeze (dir: string): () => void {
  const frozen = findPostgresBelow(dir).map(({ pid }) => pid)
  for (const pid of frozen) process.kill(pid, 'SIGSTOP')
  return () => {
    for (const pid of frozen) {
      try {
        process.kill(pid, 'SIGCONT')
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
      }
    }
  }
}

/** One statement on a connection of its own: the harness's view must not depend on a connection that a fault may cut. */
export function createQuery (connectionString: string): Query {
  return async <Row extends object>(text: string, values?: unknown[]) => {
    const client = new pg.Client({
      connectionString, application_name: 'vital-chaos', connectionTimeoutMillis: 10_000, query_timeout: QUERY_TIMEOUT_MS
    })
    client.on('error', () => { /* The query rejects with it. */ })
    await client.connect()
    try {
      return (await client.query<Row & pg.QueryResultRow>(text, values)).rows
    } finally {
      await client.end()
    }
  }
}
