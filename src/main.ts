import { createConfig, readEnvironment } from './config.ts'
import { ConfigError } from './config-error.ts'
import { createGateway } from './gateway.ts'
import { createIdHash } from './log-ids.ts'
import { createLogger } from './logger.ts'

/** A stop that takes longer has hung; devices keep what was not acknowledged. */
const STOP_DEADLINE_MS = 14_500

let config
try {
  config = createConfig(readEnvironment())
} catch (error) {
  if (!(error instanceof ConfigError)) throw error
  process.stderr.write(`${error.message}\n`)
  process.exit(1)
}

const logger = createLogger({ level: config.logLevel, hashId: config.logHashIds ? createIdHash(config.dataDir) : undefined })
const gateway = createGateway({ config, logger })

// A bug leaves state that nobody can trust: better to die, for devices hold what was not acknowledged.
process.on('uncaughtException', (error) => {
  logger.fatal({ err: error }, 'a bug ends the process')
  process.exit(1)
})
process.on('unhandledRejection', (reason) => {
  logger.fatal({ err: reason }, 'a bug ends the process: a rejection that nobody handled')
  process.exit(1)
})

let isStopping = false
function stop (signal: NodeJS.Signals): void {
  if (isStopping) {
    logger.warn({ signal }, 'stopping already')
    return
  }
  isStopping = true
  logger.info({ signal }, 'stopping')
  setTimeout(() => {
    logger.error('the stop took too long; ending now')
    process.exit(1)
  }, STOP_DEADLINE_MS).unref()
  gateway.stop().then(() => {
    logger.info('stopped')
    process.exit(0)
  }, (error: unknown) => {
    logger.fatal({ err: error }, 'the stop failed')
    process.exit(1)
  })
}
process.on('SIGTERM', stop)
process.on('SIGINT', stop)
process.on('SIGHUP', (signal) => {
  // Without certificates to renew it means what it means to any program: the terminal is gone.
  if (gateway.reload === null) stop(signal)
  else gateway.reload().catch((error: unknown) => { throw error })
})

gateway.start().catch((error: unknown) => {
  if (isStopping) return
  if (error instanceof ConfigError) {
    process.stderr.write(`${error.message}\n`)
    process.exit(1)
  }
  logger.fatal({ err: error }, error instanceof Error ? error.message : 'the start failed')
  process.exit(1)
})
