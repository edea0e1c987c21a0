import { pino } from 'pino'
import { join } from 'node:path'
import t from 'tap'
import { createRecordingsPlayer } from '../../src/process/recordings-player.ts'
import { startGateway } from '../helpers/gateway.ts'
import { until } from '../helpers/until.ts'

t.test('the recordings are played into the gateway until they are stopped', async (t) => {
  const { mqttPort, httpUrl } = await startGateway(t)
  const extension = import.meta.filename.endsWith('.ts') ? 'ts' : 'js'
  let port: number | null = null
  const player = createRecordingsPlayer({
    program: join(import.meta.dirname, `../../scripts/vital-gateway.${extension}`),
    mqttPort: () => port,
    logger: pino({ level: 'silent' })
  })
  t.teardown(player.stop)
  player.start()
  t.notOk(player.isPlaying(), 'not before MQTT listens')
  port = mqttPort
  player.start()
  player.start()
  t.ok(player.isPlaying())
  const total = async () => (await (await fetch(`${httpUrl}/vital-data`)).json() as { total: number }).total
  await until(async () => await total() === 3)
  player.stop()
  t.notOk(player.isPlaying())
})

t.test('a player whose program ends by itself is not playing', async (t) => {
  const player = createRecordingsPlayer({
    program: '/does/not/exist', mqttPort: () => 1883, logger: pino({ level: 'silent' })
  })
  player.start()
  t.ok(player.isPlaying())
  await until(() => !player.isPlaying())
  t.pass('it may be started again')
})
