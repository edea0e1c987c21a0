import type { Logger } from 'pino'
import { StorageError } from '../../db/storage-error.ts'
import { type Config, createConfig, readEnvironment } from '../config/config.ts'
import { ConfigError } from '../config/config-error.ts'
import { createIdHash } from '../log/log-ids.ts'
import { createLogger } from '../log/logger.ts'
import { SpoolError } from '../ingest/journal/spool/spool-error.ts'
import { explainStartFault } from './start-fault.ts'
import type { Signals } from './signals.ts'

/** The service that a process runs. */
interface Service {
  /** @throws coded errors whose message states the remedy */
  start (): Promise<unknown>
  stop (): Promise<void>
  /** Reads again the files that may have changed on disk. */
  reload (): Promise<void>
}

/** A stop that takes longer has hung; devices keep unacknowledged readings. */
const STOP_DEADLINE_MS = 14_500

/** Runs a service as this process, until a signal or a fault ends it. Exit status: 0 after a stop, 1 after a fault. */
export function run (signals: Signals, create: (options: { config: Config, logger: Logger }) => Service): void {
  const config = readConfig()
  const logger = createLogger({
    level: config.logLevel,
    hashId: config.logHashIds ? openIdHash(config) : undefined
  })
  const service = create({ config, logger })
  let isStopping = false

  // A bug leaves state that cannot be trusted. The process ends; devices still hold unacknowledged readings.
  process.on('uncaughtException', (error) => {
    // Not a bug: PostgreSQL came back, and what it answers cannot be corrected by waiting (connect-database.ts).
    endIfCoded(error, logger)
    logger.fatal({ err: error }, 'a bug ends the process')
    process.exit(1)
  })
  process.on('unhandledRejection', (reason) => {
    logger.fatal({ err: reason }, 'a bug ends the process: an unhandled rejection')
    process.exit(1)
  })

  signals.onStop((signal) => {
    if (isStopping) {
      logger.warn({ signal }, 'already stopping')
      return
    }
    isStopping = true
    logger.info({ signal }, 'stopping')
    setTimeout(() => {
      logger.error('the stop took too long; the process ends now')
      process.exit(1)
    }, STOP_DEADLINE_MS).unref()
    service.stop().then(() => {
      logger.info('stopped')
      process.exit(0)
    }, (error: unknown) => {
      logger.fatal({ err: error }, 'the stop failed')
      process.exit(1)
    })
  })
  signals.onReload(() => {
    logger.info('SIGHUP: reading the certificates again')
    service.reload().catch((error: unknown) => { throw error })
  })

  service.start().catch((error: unknown) => {
    if (isStopping) return
    endIfCoded(explainStartFault(error, config), logger)
    if (error instanceof SpoolError) {
      logger.fatal({ code: error.code }, error.message)
      process.exit(1)
    }
    logger.fatal({ err: error }, error instanceof Error ? error.message : 'the start failed')
    process.exit(1)
  })
}

function readConfig () {
  try {
    return createConfig(readEnvironment())
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return exitWith(error)
  }
}

function openIdHash (config: Config): (id: string) => string {
  try {
    return createIdHash(config.dataDir)
  } catch (error) {
    const fault = explainStartFault(error, config)
    if (!(fault instanceof ConfigError)) throw error
    return exitWith(fault)
  }
}

/** Ends the process, without a stack, for a fault whose message says what to do. */
function endIfCoded (error: unknown, logger: Logger): void {
  if (error instanceof ConfigError) exitWith(error)
  if (!(error instanceof StorageError)) return
  logger.fatal({ code: error.code }, error.message)
  process.exit(1)
}

/** A fault that the operator has to correct is printed as a sentence, without a stack. */
function exitWith (error: ConfigError): never {
  process.stderr.write(`${error.message}\n`)
  process.exit(1)
}
