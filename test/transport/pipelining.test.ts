/** The read gate replaces `read` of the stream, so it is tested over every kind of stream. */
import { setTimeout as sleep } from 'node:timers/promises'
import mqttPacket, { type Packet } from 'mqtt-packet'
import t from 'tap'
import { connectPacket, durable, publishPacket, settleDown } from '../helpers/broker.ts'
import { createAuthority } from '../helpers/certificates.ts'
import { collectPackets, openStream, startTransports, TRANSPORTS } from '../helpers/transports.ts'
import { until } from '../helpers/until.ts'

/** Shared by all tests here, because making one takes a dozen processes. */
const sharedAuthority = createAuthority(t)

const COUNT = 1000
const ids = Array.from({ length: COUNT }, (_, index) => index + 1)

const CASES = TRANSPORTS.flatMap((transport) => ([4, 5] as const).map((protocolVersion) => ({ transport, protocolVersion })))

for (const { transport, protocolVersion } of CASES) {
  const name = `${transport}, MQTT ${protocolVersion === 5 ? '5' : '3.1.1'}`
  const generate = (packet: Packet) => mqttPacket.generate(packet, { protocolVersion })
  const connect = connectPacket({ protocolVersion })

  t.test(`${name}: publishes pipelined while reading is paused are acknowledged once and in order`, async (t) => {
    const transports = await startTransports(t, await sharedAuthority, { answer: durable })
    const { broker, ingest } = transports
    const stream = await openStream(t, transports, transport)
    const packets = collectPackets(stream, protocolVersion)
    const pubacks = () => packets.filter(({ cmd }) => cmd === 'puback')
    stream.write(generate(connect))
    await until(() => packets.length === 1, 'CONNACK')

    broker.pauseReading()
    const bytes = Buffer.concat(ids.map((id) => generate(publishPacket(id, { payload: 'x'.repeat(id % 2000) }))))
    // Cut at any place, so that packets span frames, records and segments.
    for (let at = 0; at < bytes.length; at += 7919) stream.write(bytes.subarray(at, at + 7919))
    await settleDown()
    t.strictSame(ingest.seen, [], 'nothing passes')
    t.ok(broker.statistics().bytesReceived < 1000)

    for (let round = 0; round < 20; round++) {
      broker.resumeReading()
      await sleep(round % 3)
      broker.pauseReading()
      await sleep(round % 5)
    }
    broker.resumeReading()
    await until(() => pubacks().length >= COUNT, 'the acknowledgements')
    await settleDown()
    t.strictSame(pubacks().map(({ messageId }) => messageId), ids)
    t.equal(ingest.seen.length, COUNT)
  })

  t.test(`${name}: messages pipelined behind CONNECT wait for a slow authentication`, async (t) => {
    const transports = await startTransports(t, await sharedAuthority, {
      answer: durable,
      authenticate: async () => {
        await sleep(200)
        return { status: 'accepted', principal: null }
      }
    })
    const stream = await openStream(t, transports, transport)
    const packets = collectPackets(stream, protocolVersion)
    const bytes = Buffer.concat([
      connect, ...ids.map((id) => publishPacket(id, { payload: 'x'.repeat(200) }))
    ].map(generate))
    // More than a WebSocket takes before the first answer.
    for (let at = 0; at < bytes.length; at += 30_000) stream.write(bytes.subarray(at, at + 30_000))
    await sleep(100)
    t.strictSame(transports.ingest.seen, [], 'nothing before CONNACK')
    await until(() => packets.length > COUNT, 'the acknowledgements')
    t.strictSame(packets.filter(({ cmd }) => cmd === 'puback').map(({ messageId }) => messageId), ids)
  })

  t.test(`${name}: a client that published and left while reading was paused is still read`, async (t) => {
    const transports = await startTransports(t, await sharedAuthority, { answer: durable })
    const { broker, ingest } = transports
    const stream = await openStream(t, transports, transport)
    const packets = collectPackets(stream, protocolVersion)
    stream.write(generate(connect))
    await until(() => packets.length === 1, 'CONNACK')
    broker.pauseReading()
    stream.end(Buffer.concat([
      publishPacket(0, { qos: 0 }), publishPacket(1, { qos: 0 }), { cmd: 'disconnect' } as const
    ].map(generate)))
    await settleDown()
    t.equal(broker.statistics().publishesReceived, 0)
    broker.resumeReading()
    await until(() => ingest.seen.length === 2, 'both publishes')
    await until(() => broker.statistics().connections === 0, 'the connection to be closed')
  })
}
