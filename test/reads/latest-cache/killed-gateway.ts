/** A gateway that kills itself between a COMMIT and the copy in Redis, once the device `kill` is in a batch. */
import { createConfig } from '../../../src/config/config.ts'
import { createGateway } from '../../../src/gateway.ts'
import { createLogger } from '../../../src/log/logger.ts'

const config = createConfig(process.env)
const onCommitted = (devices: readonly string[]) => {
  if (devices.includes('kill')) process.kill(process.pid, 'SIGKILL')
}
await createGateway({ config, logger: createLogger({ level: 'info' }), faults: { onCommitted } }).start()
