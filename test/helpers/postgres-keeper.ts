import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { pino } from 'pino'
import { replaceFile } from '../../db/embedded/cluster.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../db/embedded/server.ts'
import { identifyProcess } from '../../db/embedded/server-process.ts'
import { migrate } from '../../db/migrate.ts'
import type { KeptServer } from './postgres.ts'

/** Runs the tests' PostgreSQL from the first test that needs it to the end of the run: node postgres-keeper.ts <pid> <dir>. */
const [runner, dir] = [Number(process.argv[2]), process.argv[3] ?? '']
/** Named by this process, because a server that is given may have served another run. */
const TEMPLATE = `vital_template_${process.pid}`

const identity = await identifyProcess(runner)
const logger = pino({ level: 'warn' })
const stopping = new AbortController()
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => { stopping.abort() })

async function waitForEnd (): Promise<void> {
  for (;;) {
    const current = await identifyProcess(runner)
    if (stopping.signal.aborted || current === null || current.startedAt !== identity?.startedAt) return
    await sleep(200)
  }
}

async function publish (kept: KeptServer): Promise<void> {
  await replaceFile(join(dir, 'kept.json'), `${JSON.stringify(kept)}\n`)
}

async function createTemplate (url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(`create database ${TEMPLATE} template template0`)
  await client.end()
  await migrate({ connectionString: Object.assign(new URL(url), { pathname: `/${TEMPLATE}` }).href, logger })
}

let postgres: EmbeddedPostgres | undefined
try {
  // `npm run compat` brings a server of another version.
  const given = process.env['VITAL_TEST_DATABASE_URL']
  if (given === undefined) postgres = await startEmbeddedPostgres({ dataDir: join(dir, 'data'), logger })
  const url = given ?? postgres!.connectionString
  await createTemplate(url)
  await publish({ keeperPid: process.pid, url, template: TEMPLATE })
  await waitForEnd()
} catch (error) {
  await publish({ keeperPid: process.pid, url: '', template: '', error: String(error) })
  await waitForEnd()
} finally {
  await postgres?.stop()
  await rm(dir, { recursive: true, force: true })
}
