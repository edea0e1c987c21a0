/** How each publish of a client of MQTT 5 is answered: PUBACK, PUBREC, or neither. */
import type { IConnectPacket, IPublishPacket } from 'mqtt-packet'
import t, { type Test } from 'tap'
import type { Verdict, VitalPublish } from '../../../broker/ingest.ts'
import type { Reason } from '../../../schemas/reason.ts'
import { durable, publishPacket, RawClient, settleDown, startBroker, unavailable } from '../../helpers/broker.ts'
import { authenticateByName, login } from '../../helpers/principals.ts'

const rejected = (reason: Reason, count = 1) => Array.from({ length: count }, () => ({ reason, errors: [], receivedAt: 1 }))

/** The number of messages that the broker itself retains. */
const STATISTICS = 8

/** The verdict for each payload. */
const VERDICTS: Readonly<Record<string, Verdict>> = {
  good: { status: 'durable', fanOut: Buffer.from('good'), rejections: [], elements: 1, isKept: true },
  partly: { status: 'durable', fanOut: Buffer.from('[]'), rejections: rejected('invalid_reading', 2), elements: 10, isKept: true },
  refused: { status: 'durable', fanOut: null, rejections: rejected('invalid_json'), elements: 1, isKept: true },
  'refused by the database': { status: 'durable', fanOut: null, rejections: rejected('database_rejected'), elements: 1, isKept: true },
  topic: { status: 'durable', fanOut: null, rejections: rejected('invalid_topic'), elements: 1, isKept: true },
  'not kept': { status: 'durable', fanOut: null, rejections: rejected('invalid_json'), elements: 1, isKept: false }
}

const answer = ({ payload }: VitalPublish): Verdict => VERDICTS[payload.toString()] ?? unavailable()

const connected = (t: Test, port: number, options: Partial<IConnectPacket> = {}) =>
  RawClient.connected(t, port, { protocolVersion: 5, ...options })

/** Publishes one message, and returns the code and the Reason String of its answer. */
async function tell (client: RawClient, options: Partial<IPublishPacket>): Promise<[number | undefined, string | undefined]> {
  const cmd = options.qos === 2 ? 'pubrec' : 'puback'
  const before = client.of(cmd).length
  client.send(publishPacket(before + 1, options))
  await client.waitFor(cmd, before + 1)
  const { reasonCode, properties } = client.of(cmd)[before]!
  return [reasonCode, properties?.reasonString]
}

for (const qos of [1, 2] as const) {
  t.test(`at QoS ${qos} the answer says whether a reading was stored, kept as a dead letter, or refused`, async (t) => {
    const { port } = await startBroker(t, { answer })
    const client = await connected(t, port)
    const toldOf = (payload: string, topic = 'vital/band-1') => tell(client, { qos, topic, payload })
    t.strictSame(await toldOf('good'), [0x00, undefined])
    t.strictSame(await toldOf('partly'), [0x00, '2 of 10 rejected'])
    t.strictSame(await toldOf('refused'), [0x99, 'invalid_json'])
    t.strictSame(await toldOf('refused by the database'), [0x99, 'database_rejected'])
    t.strictSame(await toldOf('topic', 'vital/a/b'), [0x90, 'invalid_topic'])
    t.strictSame(await toldOf('not kept'), [0x97, 'invalid_json; not kept: dead letters are full'])
    t.strictSame(await toldOf('relayed', 'home/lamp'), [0x00, undefined])
    t.strictSame(await toldOf('x', 'x'.repeat(1025)), [0x90, 'the topic is too long or has too many levels'])
    t.strictSame(await tell(client, {
      qos, topic: 'home/lamp', payload: Buffer.from([0xff]), properties: { payloadFormatIndicator: true }
    }), [0x99, 'the payload is not UTF-8'])
    t.notOk(client.isClosed)
  })
}

t.test('a Reason String is left out where the client asks for none, or where the packet would exceed its maximum', async (t) => {
  const { port } = await startBroker(t, { answer })
  for (const properties of [{ requestProblemInformation: false }, { maximumPacketSize: 12 }]) {
    const client = await connected(t, port, { properties })
    t.strictSame(await tell(client, { payload: 'refused' }), [0x99, undefined])
    t.strictSame(await tell(client, { payload: 'partly' }), [0x00, undefined])
    t.strictSame(await tell(client, { payload: 'refused', qos: 2 }), [0x99, undefined])
  }
})

t.test('a publish of QoS 2 that was refused releases its packet id', async (t) => {
  const { port } = await startBroker(t, { answer })
  const client = await connected(t, port)
  client.send(publishPacket(1, { qos: 2, payload: 'refused' }))
  await client.waitFor('pubrec')
  client.send({ cmd: 'pubrel', messageId: 1, reasonCode: 0 })
  await client.waitFor('pubcomp')
  t.equal(client.of('pubcomp')[0]!.reasonCode, 0x92)
  client.send(publishPacket(2, { qos: 2, payload: 'good' }))
  await client.waitFor('pubrec', 2)
  client.send({ cmd: 'pubrel', messageId: 2, reasonCode: 0 })
  await client.waitFor('pubcomp', 2)
  t.equal(client.of('pubcomp')[1]!.reasonCode, 0x00)
})

t.test('acknowledgements leave in the order of the publishes, whatever their codes', async (t) => {
  const { port, ingest } = await startBroker(t)
  const client = await connected(t, port)
  const payloads = ['good', 'refused', 'good', 'partly', 'relayed', 'good']
  client.send(...payloads.map((payload, index) => publishPacket(index + 1, payload === 'relayed' ? { topic: 'a', payload } : { payload })))
  await settleDown()
  t.strictSame(client.ids('puback'), [], 'nothing is answered before it is durable')
  ingest.settleAll(answer, (held) => held.reverse())
  await client.waitFor('puback', payloads.length)
  t.strictSame(client.ids('puback'), [1, 2, 3, 4, 5, 6])
  t.strictSame(client.of('puback').map(({ reasonCode }) => reasonCode), [0, 0x99, 0, 0, 0, 0])
})

const UNAVAILABLE = { timeout: 0x89, failed: 0x83, stopping: 0x8b } as const
for (const [reason, code] of Object.entries(UNAVAILABLE)) {
  t.test(`a publish that cannot be stored now has no answer: DISCONNECT 0x${code.toString(16)} (${reason})`, async (t) => {
    const { port, ingest } = await startBroker(t)
    const client = await connected(t, port)
    client.send(publishPacket(1, { payload: 'good' }), publishPacket(2), publishPacket(3, { qos: 2 }))
    await settleDown()
    const [first] = ingest.held
    first!.settle(durable(first!.publish))
    ingest.settleAll(() => ({ status: 'unavailable', reason: reason as keyof typeof UNAVAILABLE }))
    await client.closed()
    t.strictSame(client.ids('puback'), [1], 'the publish that was stored before is acknowledged')
    t.strictSame(client.of('pubrec'), [])
    t.strictSame(client.of('disconnect').map(({ reasonCode }) => reasonCode), [code])
  })
}

t.test('a topic of another device is answered 0x87, and after several the connection is closed with 0x87', async (t) => {
  const { port, broker, ingest } = await startBroker(t, { answer, authenticate: authenticateByName })
  const client = await connected(t, port, login('device-1') as Partial<IConnectPacket>)
  t.strictSame(await tell(client, { topic: 'vital/device-1', payload: 'good' }), [0x00, undefined])
  t.strictSame(await tell(client, { topic: 'vital/device-2', payload: 'good' }), [0x87, undefined])
  t.strictSame(await tell(client, { topic: 'vital/device-1', payload: 'good' }), [0x00, undefined])
  for (let n = 1; n <= 10; n++) client.send(publishPacket(n + 3, { topic: 'home', qos: 2 }))
  await client.closed()
  t.strictSame(client.of('disconnect').map(({ reasonCode }) => reasonCode), [0x87])
  t.strictSame(ingest.seen.map(({ topic }) => topic), ['vital/device-1', 'vital/device-1'])
  t.equal(broker.statistics().publishesForbidden, 11)
})

t.test('a message outside vital/ that cannot be retained is answered 0x97; a reading never is', async (t) => {
  const { port } = await startBroker(t, { answer, limits: { retainedMessagesMax: STATISTICS + 1 } })
  const client = await connected(t, port)
  t.strictSame(await tell(client, { topic: 'a', retain: true }), [0x00, undefined])
  t.strictSame(await tell(client, { topic: 'b', retain: true }), [0x97, 'no further message is retained'])
  t.strictSame(await tell(client, { topic: 'b', retain: true, qos: 2 }), [0x97, 'no further message is retained'])
  t.strictSame(await tell(client, { topic: 'vital/band-1', payload: 'good', retain: true }), [0x00, undefined])
})

t.test('the properties of a message count towards the bytes that are retained', async (t) => {
  const { port } = await startBroker(t, { answer, limits: { retainedBytesMax: 30_000 } })
  const client = await connected(t, port)
  const properties = { userProperties: { name: 'x'.repeat(30_000) } }
  t.strictSame(await tell(client, { topic: 'a', retain: true }), [0x00, undefined])
  t.strictSame(await tell(client, { topic: 'b', retain: true, properties }), [0x97, 'no further message is retained'])
})
