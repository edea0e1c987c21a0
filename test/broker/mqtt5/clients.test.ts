/** Real clients of MQTT 5 with their default settings, on a gateway with its database. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt'
import t, { type Test } from 'tap'
import { durable, startBroker, type TestBroker, unavailable } from '../../helpers/broker.ts'
import { readLedger, startGateway } from '../../helpers/gateway.ts'
import { findPython } from '../../helpers/python.ts'
import { until } from '../../helpers/until.ts'

const run = promisify(execFile)

const RUN_MAX_MS = 20_000
/** Installs paho-mqtt 2 as well. The first installation takes some seconds and is kept for later runs. */
const AIOMQTT = 'aiomqtt==2.5.1'
const INSTALL_MAX_MS = 50_000

const reading = (n: number) => `{"timestamp":${1_750_240_830 + n},"heartRateValue":61.5}`
/** Publishes at QoS 0, 1 and 2, then one that is refused, then one while the subscriber is away. */
const STORED = 4

/**
 * As topic, QoS and payload. A client delivers a message of QoS 2 at its PUBREL, so a later message of QoS 1 may overtake it there.
 * So the publish that is refused waits until the others were seen.
 */
const SEEN = [...[0, 1, 2].map((qos) => `vital/band ${qos} ${reading(qos)}`), /^vital\/band\/rejected 1 \{"reason":"invalid_json"/]

const isInstalled = (program: string) => run('sh', ['-c', `command -v ${program}`]).then(() => true, () => false)

async function connect (t: Test, port: number, options: IClientOptions = {}): Promise<MqttClient> {
  const client = await connectAsync(`mqtt://127.0.0.1:${port}`, { protocolVersion: 5, ...options })
  t.teardown(() => client.endAsync(true))
  return client
}

async function checkLedger (t: Test, httpUrl: string): Promise<void> {
  await until(async () => (await readLedger(httpUrl)).received === STORED + 1, 'all publishes, QoS 0 included')
  t.match(await readLedger(httpUrl), { stored: STORED, duplicate: 0, deadLettered: 1, refused: 0, pending: 0, balance: 0 })
}

t.test('MQTT.js', async (t) => {
  const { mqttPort, httpUrl } = await startGateway(t)
  const watcher = await connect(t, mqttPort, { clientId: 'watcher', clean: false, properties: { sessionExpiryInterval: 60 } })
  const seen: string[] = []
  watcher.on('message', (topic, payload, { qos }) => { seen.push(`${topic} ${qos} ${payload.toString()}`) })
  await watcher.subscribeAsync('#', { qos: 2 })
  const device = await connect(t, mqttPort)
  for (const qos of [0, 1, 2] as const) await device.publishAsync('vital/band', reading(qos), { qos })
  await until(() => seen.length === 3, 'the message of QoS 2')
  await t.rejects(device.publishAsync('vital/band', 'no JSON', { qos: 1 }), { code: 0x99 }, 'MQTT.js reports it to the application')
  await until(() => seen.length === 4, 'all messages')
  t.match(seen, SEEN)
  await watcher.endAsync()
  await device.publishAsync('vital/band', reading(3), { qos: 1 })
  watcher.reconnect()
  await until(() => seen.length === 5, 'the message published meanwhile')
  t.equal(seen[4], `vital/band 1 ${reading(3)}`)
  await checkLedger(t, httpUrl)
})

const hasMosquitto = await isInstalled('mosquitto_pub') && await isInstalled('mosquitto_sub')

t.test('mosquitto_pub and mosquitto_sub -V 5', { skip: !hasMosquitto && 'mosquitto-clients are not installed' }, async (t) => {
  const { mqttPort, httpUrl } = await startGateway(t)
  const server = ['-V', '5', '-h', '127.0.0.1', '-p', String(mqttPort)]
  const publish = (qos: number, payload: string) => run('mosquitto_pub',
    [...server, '-t', 'vital/band', '-q', String(qos), '-m', payload], { timeout: RUN_MAX_MS })
  const subscribe = (...options: string[]) =>
    ['mosquitto_sub', [...server, '-t', '#', '-q', '2', '-i', 'watcher', '-c', '-x', '60', ...options]] as const
  await run(...subscribe('-E'), { timeout: RUN_MAX_MS })
  const watcher = spawn(...subscribe('-C', '4', '-F', '%t %q %p'), { timeout: RUN_MAX_MS })
  let seen = ''
  watcher.stdout.on('data', (chunk: Buffer) => { seen += chunk.toString() })
  const ended = once(watcher, 'close')
  for (const qos of [0, 1, 2]) {
    await publish(qos, reading(qos))
    await until(() => seen.includes(reading(qos)), `the publish of QoS ${qos}`)
  }
  const refused = await publish(1, 'no JSON')
  t.match(refused.stderr, /Payload format invalid/)
  t.strictSame(await ended, [0, null])
  t.match(seen.split('\n'), SEEN)
  await publish(1, reading(3))
  const { stdout } = await run(...subscribe('-C', '1'), { timeout: RUN_MAX_MS })
  t.equal(stdout.trim(), reading(3), 'the message published meanwhile')
  await checkLedger(t, httpUrl)
})

t.test('MQTT.js with 10,000 publishes in flight, which ignores the Receive Maximum of a server', async (t) => {
  const { mqttPort, httpUrl } = await startGateway(t)
  const device = await connect(t, mqttPort)
  let closes = 0
  device.on('close', () => { closes++ })
  await Promise.all(Array.from({ length: 10_000 }, (_, n) => device.publishAsync('vital/band', reading(n), { qos: 1 })))
  t.equal(closes, 0)
  t.match(await readLedger(httpUrl), { received: 10_000, stored: 10_000, duplicate: 0, refused: 0, pending: 0 })
})

/** Stores the first publish, cannot store the second, and stores all later ones. */
async function failOnce ({ ingest }: TestBroker): Promise<void> {
  await until(() => ingest.held.length === 2, 'two publishes')
  ingest.answer = durable
  ingest.settleAll((publish) => publish.payload.toString() === '1' ? durable(publish) : unavailable())
}

t.test('MQTT.js comes back after DISCONNECT 0x89, and sends unacknowledged publishes again', async (t) => {
  const broker = await startBroker(t)
  const device = await connect(t, broker.port)
  const codes: unknown[] = []
  device.on('disconnect', ({ reasonCode }) => { codes.push(reasonCode) })
  const publishes = ['1', '2'].map((payload) => device.publishAsync('vital/band', payload, { qos: 1 }))
  await failOnce(broker)
  await Promise.all(publishes)
  t.strictSame(codes, [0x89])
  t.strictSame(broker.ingest.seen.map(({ payload }) => payload.toString()), ['1', '2', '2'])
})

const READINGS = 'readings = [\'{"timestamp":%d,"heartRateValue":61.5}\' % (1750240830 + n) for n in range(4)]'

const PAHO = `
import sys, time
import paho.mqtt.client as mqtt
from paho.mqtt.properties import Properties
from paho.mqtt.packettypes import PacketTypes
${READINGS}
seen, answers, present = [], {}, []
def until(holds, what):
    for _ in range(1000):
        if holds(): return
        time.sleep(0.01)
    raise AssertionError(what)
def start(client_id, **how):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
    up = []
    client.on_connect = lambda c, u, flags, code, properties: (up.append(code), present.append(flags.session_present))
    client.on_message = lambda c, u, message: seen.append((message.topic, message.qos, message.payload.decode()))
    client.on_publish = lambda c, u, mid, code, properties: answers.update({mid: (code.value, getattr(properties, 'ReasonString', None))})
    client.connect('127.0.0.1', int(sys.argv[1]), **how)
    client.loop_start()
    until(lambda: up, 'CONNACK')
    return client
session = Properties(PacketTypes.CONNECT)
session.SessionExpiryInterval = 60
watcher = start('watcher', clean_start=False, properties=session)
granted = []
watcher.on_subscribe = lambda c, u, mid, codes, properties: granted.extend(codes)
watcher.subscribe('#', qos=2)
until(lambda: granted, 'SUBACK')
device = start('')
for qos in range(3):
    device.publish('vital/band', readings[qos], qos=qos).wait_for_publish(5)
until(lambda: len(seen) == 3, seen)
refused = device.publish('vital/band', 'no JSON', qos=1)
until(lambda: refused.mid in answers, 'PUBACK')
assert answers[refused.mid] == (0x99, 'invalid_json'), answers
until(lambda: len(seen) == 4, seen)
assert seen[:3] == [('vital/band', qos, readings[qos]) for qos in range(3)], seen
assert seen[3][0] == 'vital/band/rejected', seen
watcher.disconnect()
watcher.loop_stop()
device.publish('vital/band', readings[3], qos=1).wait_for_publish(5)
back = start('watcher', clean_start=False, properties=session)
missed = ('vital/band', 1, readings[3])
until(lambda: missed in seen, seen)
# What was handed over and not acknowledged before the end comes again.
assert present[-1] and [message for message in seen[4:] if message != seen[3]] == [missed], (present, seen)
print('done')
`

const PAHO_RETURNS = `
import sys, threading
import paho.mqtt.client as mqtt
ended, told = [], threading.Event()
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
client.on_disconnect = lambda c, u, flags, code, properties: ended.append(code.value)
codes = {}
def note(c, u, mid, code, properties):
    codes[mid] = code.value
    if len(codes) == 2: told.set()
client.on_publish = note
client.connect('127.0.0.1', int(sys.argv[1]))
client.loop_start()
for payload in '12': client.publish('vital/band', payload, qos=1)
assert told.wait(10), (codes, ended)
assert ended == [0x89] and set(codes.values()) == {0}, (codes, ended)
print('done')
`

const AIO = `
import asyncio, sys
from aiomqtt import Client, ProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.packettypes import PacketTypes
${READINGS}
session = Properties(PacketTypes.CONNECT)
session.SessionExpiryInterval = 60
def connect(**options):
    return Client('127.0.0.1', int(sys.argv[1]), protocol=ProtocolVersion.V5, **options)
async def take(client, count):
    seen = []
    async for message in client.messages:
        seen.append((message.topic.value, message.qos, message.payload.decode()))
        if len(seen) == count: return seen
async def main():
    watcher = dict(identifier='watcher', clean_start=False, properties=session)
    async with connect() as device:
        async with connect(**watcher) as client:
            await client.subscribe('#', qos=2)
            for qos in range(3): await device.publish('vital/band', readings[qos], qos=qos)
            seen = await take(client, 3)
            assert seen == [('vital/band', qos, readings[qos]) for qos in range(3)], seen
            await device.publish('vital/band', 'no JSON', qos=1)
            seen = await take(client, 1)
            assert seen[0][0] == 'vital/band/rejected' and 'invalid_json' in seen[0][2], seen
        await device.publish('vital/band', readings[3], qos=1)
        async with connect(**watcher) as client:
            again = seen
            while seen == again: seen = await take(client, 1)
            assert seen == [('vital/band', 1, readings[3])], seen
    print('done')
asyncio.run(asyncio.wait_for(main(), 15))
`

const found = await findPython(AIOMQTT, INSTALL_MAX_MS)
const skip = 'reason' in found && `python3 with venv and "pip install ${AIOMQTT}" is needed: ${found.reason}`

for (const [name, program] of Object.entries({ 'paho-python 2': PAHO, aiomqtt: AIO })) {
  t.test(name, { skip }, async (t) => {
    if (!('python' in found)) return
    const { mqttPort, httpUrl } = await startGateway(t)
    const { stdout } = await run(found.python, ['-c', program, String(mqttPort)], { timeout: RUN_MAX_MS })
    t.equal(stdout.trim(), 'done')
    await checkLedger(t, httpUrl)
  })
}

t.test('paho-python comes back after DISCONNECT 0x89, and sends unacknowledged publishes again', { skip }, async (t) => {
  if (!('python' in found)) return
  const broker = await startBroker(t)
  const running = run(found.python, ['-c', PAHO_RETURNS, String(broker.port)], { timeout: RUN_MAX_MS })
  await failOnce(broker)
  t.equal((await running).stdout.trim(), 'done')
  t.strictSame(broker.ingest.seen.map(({ payload }) => payload.toString()), ['1', '2', '2'])
})
