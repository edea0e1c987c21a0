import type { Logger } from 'pino'
import type { Database } from '../../db/database.ts'
import { refuseNewerSchema, selectMissingMigrations } from '../../db/migrate.ts'
import type { Clock } from '../clock.ts'

const INTERVAL_MS = 1000

/** A process that does not migrate waits until a gateway has made the tables. */
class TablesMissingError extends Error {
  readonly code = 'VITAL_TABLES_MISSING'
  constructor (missing: readonly string[]) {
    super(`the tables of this version are not there yet (${missing.join(', ')}): start a gateway of this version on the same database, ` +
      'which makes them')
  }
}

interface WatchDatabaseOptions {
  readonly database: Pick<Database, 'kysely' | 'pool'>
  readonly clock: Pick<Clock, 'read'>
  readonly logger: Logger
}

/**
 * Watches whether PostgreSQL answers and has the tables of this version. For processes whose circuit does not tell
 * that.
 */
export function watchDatabase ({ database, clock, logger }: WatchDatabaseOptions) {
  const { kysely, pool } = database
  let isUp = false
  let isReadable = false
  let fault: string | null = null
  let timer: NodeJS.Timeout | undefined
  let round: Promise<void> = Promise.resolve()
  let isStopped = false

  /**
   * @throws `VITAL_SCHEMA_NEWER`; `VITAL_TABLES_MISSING`, or the error of pg, which may pass
   */
  async function check (): Promise<void> {
    try {
      await clock.read(pool)
      isUp = true
      await refuseNewerSchema(kysely)
      const missing = await selectMissingMigrations(kysely)
      if (missing.length > 0) throw new TablesMissingError(missing)
      isReadable = true
      fault = null
    } catch (error) {
      fault = error instanceof TablesMissingError ? error.message : 'PostgreSQL does not answer'
      throw error
    }
  }

  async function look (): Promise<void> {
    try {
      await clock.read(pool)
      if (!isUp) logger.info('PostgreSQL answers again')
      isUp = true
      fault = null
    } catch (error) {
      if (isUp && !isStopped) logger.error({ err: error }, 'PostgreSQL does not answer; replicas do where there are some')
      isUp = false
      fault = 'PostgreSQL does not answer'
    }
    if (!isStopped) timer = setTimeout(next, INTERVAL_MS).unref()
  }

  function next (): void {
    round = look()
  }

  return {
    check,
    get isUp (): boolean {
      return isUp
    },
    /** Whether it has answered once, and had the tables then. */
    get isReadable (): boolean {
      return isReadable
    },
    /** Checks each second from now on. */
    start: next,
    async stop (): Promise<void> {
      isStopped = true
      clearTimeout(timer)
      await round
    },
    /** Conditions shown in readiness while they last. */
    warnings: (): string[] => fault === null ? [] : [fault]
  }
}
