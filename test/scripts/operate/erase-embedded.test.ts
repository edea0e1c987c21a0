import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
import { createConfig } from '../../../src/config/config.ts'
import { createGateway } from '../../../src/gateway.ts'
import { connectClient } from '../../helpers/gateway.ts'
import { createTestDir } from '../../helpers/postgres.ts'
import { runOperated } from '../../helpers/operator.ts'

t.test('a device is erased from an embedded PostgreSQL, running and stopped with its gateway', async (t) => {
  const dataDir = await createTestDir(t)
  const config = createConfig({ VITAL_DATA_DIR: dataDir, VITAL_MQTT_PORT: '0', VITAL_HTTP_PORT: '0' })
  const gateway = createGateway({ config, logger: pino({ level: 'silent' }) })
  t.teardown(() => gateway.stop())
  const { mqttPort } = await gateway.start()
  const client = await connectClient(t, mqttPort)
  for (const timestamp of [1, 2, 3]) await client.publishAsync('vital/a', JSON.stringify({ timestamp }), { qos: 1 })
  await client.endAsync()
  await gateway.stop()
  const run = (...args: string[]) => runOperated('erase', args, { VITAL_DATA_DIR: dataDir })
  t.match(await run('--device', 'a', '--yes'), { status: 0, stdout: /^readings +3 /m })
  t.notOk(existsSync(join(dataDir, 'postgres', 'postmaster.pid')), 'and the server that the command started has ended with it')
  t.match(await run('--device', 'a', '--yes'), { status: 0, stdout: /^readings +0 /m }, 'the command can be repeated')
})
