import t from 'tap'
import { checkBridge } from '../../../../scripts/operate/doctor/bridge.ts'
import { createConfig } from '../../../../src/config/config.ts'
import { startScriptedBroker } from '../../../bridge/scripted-broker.ts'
import { exactly } from '../../../helpers/exactly.ts'
import { freePort } from '../../../helpers/free-port.ts'
import { until } from '../../../helpers/until.ts'

const check = (url: string) => checkBridge(createConfig({ VITAL_BRIDGE_URL: url, VITAL_BRIDGE_CLIENT_ID: 'bridge-1' }))

t.test('the doctor asks the broker, subscribes to nothing and leaves no session', async (t) => {
  t.same(await checkBridge(createConfig({})), [])
  const broker = await startScriptedBroker(t)
  broker.tell({ connack: { properties: { sessionExpiryInterval: 3600 } } })
  t.match(await check(broker.url), exactly(
    {
      status: 'ok',
      text: /^the broker at 127\.0\.0\.1:\d+ answers in .* ms; the subscription would be \$share\/vital-gateway\/vital\/\+$/
    },
    { check: 'bridge TLS', status: 'ok' },
    { status: 'warn', text: /for 3600 s/ }
  ))
  t.match(broker.connects(), exactly({ clientId: /^bridge-1-doctor-/ }))
  await until(() => broker.all('disconnect').length === 1)
  t.match(broker.received.map(({ cmd }) => cmd), exactly('connect', 'disconnect'))
  t.match(broker.all('disconnect'), exactly({ properties: { sessionExpiryInterval: 0 } }))
})

t.test('a fault that would stop the start is a FAIL', async (t) => {
  const broker = await startScriptedBroker(t)
  broker.tell({ connack: { properties: { sharedSubscriptionAvailable: false } } })
  t.match(await check(broker.url), exactly({ status: 'FAIL', text: /has no shared subscriptions/ }))
  broker.tell({ rawConnack: Buffer.from([0, 0]) })
  t.match(await check(broker.url), exactly({ status: 'FAIL', text: /does not speak MQTT/ }))
  t.match(await check(`mqtt://127.0.0.1:${await freePort()}`), exactly({
    status: 'FAIL', text: /^cannot connect to .*ECONNREFUSED/, advice: /^start it/
  }))
})
