import type { Kysely } from 'kysely'
import type { Logger } from 'pino'
import { eraseDevice } from '../../db/erase/erase-device.ts'
import { takeFoundErasures } from '../../db/erase/log-erasures.ts'
import type { Tables } from '../../db/tables.ts'
import type { Task } from '../operations/scheduler.ts'

const LOOK_INTERVAL_MS = 1000
/** Actor in the audit log. */
const ACTOR = 'an erasure in Kafka'

interface FoundErasuresOptions {
  readonly kysely: Kysely<Tables>
  readonly connectionString: string
  /** application_name of this sink. */
  readonly name: string
  /** Runs an erasure so that the copy of the latest states does not show the device. */
  readonly aroundErasure: <T>(device: string, erase: () => Promise<T>) => Promise<T>
  readonly signal: AbortSignal
  readonly logger: Logger
}

/**
 * Clears PostgreSQL of devices whose erasure markers sinks found in Kafka, and whose erasures this database did not
 * know. Either it was restored from an older backup, or it is not the database of the gateways.
 */
export function createFoundErasures ({ kysely, connectionString, name, aroundErasure, signal, logger }: FoundErasuresOptions) {
  let running: Promise<void> = Promise.resolve()

  async function run (): Promise<void> {
    for (const { id, device } of await takeFoundErasures(kysely, name)) {
      const { replication: _, consumers: __, ...erased } = await aroundErasure(device, () => eraseDevice({
        connectionString, device, actor: ACTOR, mark: () => Promise.resolve(id), logger, isStopping: () => signal.aborted
      }))
      logger.info({ erasure: id, ...erased }, 'a device was erased, as a marker in Kafka says')
    }
  }

  const task: Task = {
    name: 'erasures that were found in Kafka',
    intervalMs: LOOK_INTERVAL_MS,
    run: () => {
      const ran = run()
      running = ran.catch(() => {})
      return ran
    }
  }
  /** `settled` settles when no erasure is under way. */
  return { task, settled: () => running }
}
