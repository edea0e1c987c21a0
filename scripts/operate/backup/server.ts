import { access, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import { startEmbeddedPostgres } from '../../../db/embedded/server.ts'
import { StorageError } from '../../../db/storage-error.ts'
import type { Config } from '../../../src/config/config.ts'
import { lockDirectory } from '../../../src/ingest/journal/spool/directory-lock.ts'
import { SpoolError } from '../../../src/ingest/journal/spool/spool-error.ts'
import { OperatorError } from '../../command-line/operator-error.ts'
import type { Print } from '../../command-line/surroundings.ts'

/** The command itself reports failures. */
const logger = pino({ level: 'silent' })

/**
 * Runs `work` with the embedded PostgreSQL of a data directory: the one of the gateway that runs, or, where none
 * runs, one started in its place under the lock of the spool, so that no gateway starts meanwhile.
 * @throws `OPERATOR_FAILED`
 */
export async function withServer<T> (
  { config: { dataDir }, tell }: { config: Config, tell: Print }, work: (connectionString: string) => Promise<T>
): Promise<T> {
  await assertDataDir(dataDir)
  const unlock = await lockDirectory(join(dataDir, 'spool')).catch((cause: unknown) => {
    if (cause instanceof SpoolError && cause.code === 'VITAL_SPOOL_IN_USE') return null
    throw new OperatorError('OPERATOR_FAILED',
      `${join(dataDir, 'spool')} cannot be used: ${(cause as Error).message}`, { cause })
  })
  if (unlock === null) return await work(await readUrl(dataDir))
  try {
    tell(`no gateway runs on ${dataDir}: its PostgreSQL is started for this`)
    return await withEmbedded(dataDir, work)
  } finally {
    await unlock()
  }
}

/** Starts the PostgreSQL of a directory that no gateway uses, and stops it. @throws `OPERATOR_FAILED` */
export async function withEmbedded<T> (dataDir: string, work: (connectionString: string) => Promise<T>): Promise<T> {
  const server = await startEmbeddedPostgres({ dataDir, logger }).catch((cause: unknown) => {
    throw cause instanceof StorageError ? new OperatorError('OPERATOR_FAILED', cause.message, { cause }) : cause
  })
  try {
    return await work(server.connectionString)
  } finally {
    await server.stop()
  }
}

/** Without this check a misspelt directory would become an empty database. */
async function assertDataDir (dataDir: string): Promise<void> {
  for (const path of [join(dataDir, 'postgres', 'PG_VERSION'), join(dataDir, 'spool')]) {
    await access(path).catch((cause: NodeJS.ErrnoException) => {
      throw new OperatorError('OPERATOR_FAILED', cause.code === 'ENOENT'
        ? `there is no ${path}, so ${dataDir} is not the data directory of a gateway with an embedded PostgreSQL. ` +
          'Set VITAL_DATA_DIR to that of the gateway.'
        : `${path} cannot be read (${cause.code}): run this as the user that runs the gateway.`, { cause })
    })
  }
  const { uid } = await stat(join(dataDir, 'spool'))
  const own = process.getuid?.()
  if (own === undefined || own === uid) return
  throw new OperatorError('OPERATOR_FAILED',
    `${dataDir} belongs to user ${uid}: run this as that user, which runs the gateway.`)
}

async function readUrl (dataDir: string): Promise<string> {
  const path = join(dataDir, 'database-url')
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (cause) {
    throw new OperatorError('OPERATOR_FAILED',
      `the gateway of ${dataDir} runs, but ${path} cannot be read: it is starting, or uses another ` +
      'PostgreSQL.', { cause })
  }
}
