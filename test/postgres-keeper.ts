import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { pino } from 'pino'
import { replaceFile } from '../db/embedded/cluster.ts'
import { startEmbeddedPostgres } from '../db/embedded/server.ts'
import { identifyProcess } from '../db/embedded/server-process.ts'
import { migrate } from '../db/migrate.ts'
import type { KeptServer } from './postgres.ts'

/** Runs the tests' PostgreSQL from the first test that needs it to the end of the run: node postgres-keeper.ts <pid> <dir>. */
const [runner, dir] = [Number(process.argv[2]), process.argv[3] ?? '']
const TEMPLATE = 'vital_template'

const identity = await identifyProcess(runner)
const logger = pino({ level: 'warn' })
const stopping = new AbortController()
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => { stopping.abort() })

async function isRunning (): Promise<boolean> {
  return !stopping.signal.aborted && identity !== null && (await identifyProcess(runner))?.startedAt === identity.startedAt
}

const postgres = await startEmbeddedPostgres({ dataDir: join(dir, 'data'), logger })
try {
  const client = new pg.Client({ connectionString: postgres.connectionString })
  await client.connect()
  await client.query(`create database ${TEMPLATE} template template0`)
  await client.end()
  await migrate({ connectionString: Object.assign(new URL(postgres.connectionString), { pathname: `/${TEMPLATE}` }).href, logger })
  const kept: KeptServer = { keeperPid: process.pid, url: postgres.connectionString, template: TEMPLATE }
  await replaceFile(join(dir, 'kept.json'), `${JSON.stringify(kept)}\n`)

  while (await isRunning()) await sleep(200)
} finally {
  await postgres.stop()
  await rm(dir, { recursive: true, force: true })
}
