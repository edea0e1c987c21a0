/** A gateway that kills itself at a step of an erasure, or never without a step: node doomed-gateway.ts STEP. */
import { pino } from 'pino'
import { createConfig } from '../../src/config/config.ts'
import { createGateway } from '../../src/gateway.ts'

const [, , step = ''] = process.argv

const gateway = createGateway({
  config: createConfig(process.env),
  logger: pino({ level: 'info' }),
  faults: { onErasureStep (reached) { if (reached === step) process.kill(process.pid, 'SIGKILL') } }
})
process.on('SIGTERM', () => { gateway.stop().then(() => { process.exit(0) }, () => { process.exit(1) }) })
await gateway.start()
