import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { connectClient, startGateway } from './helpers/gateway.ts'

t.test('limits come from the environment and are counted in the metrics', async (t) => {
  const gateway = await startGateway(t, {
    VITAL_CONNECTIONS_MAX: '2',
    VITAL_CONNECTIONS_PER_ADDRESS_MAX: '2',
    VITAL_CONNECTS_PER_SECOND_MAX: '1',
    VITAL_DEVICE_MESSAGES_PER_SECOND_MAX: '20',
    VITAL_DEVICE_BYTES_PER_SECOND_MAX: '2000'
  })
  const client = await connectClient(t, gateway.mqttPort)
  await connectClient(t, gateway.mqttPort)
  await once(connect(gateway.mqttPort, '127.0.0.1').resume(), 'close')
  const publishAll = (count: number, payload: object) =>
    Promise.all(Array.from({ length: count }, (_, index) => client.publishAsync('vital/band', JSON.stringify({
      timestamp: index + 1, ...payload
    }), { qos: 1 })))
  await publishAll(60, {})
  await publishAll(3, { note: 'x'.repeat(2000) })
  const metrics = await (await fetch(`${gateway.httpUrl}/metrics`)).text()
  for (const limit of ['connections', 'connects_per_second', 'messages_per_second', 'bytes_per_second']) {
    t.match(metrics, new RegExp(`^vital_mqtt_limit_hits_total\\{limit="${limit}"\\} [1-9]`, 'm'), limit)
  }
  t.match(metrics, /^vital_mqtt_connections 2$/m)
})
