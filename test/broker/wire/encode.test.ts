import mqttPacket, { type Packet } from 'mqtt-packet'
import t from 'tap'
import { encodeConnack, encodePubacks, encodePublish, encodePubrel, RETURN_CODES } from '../../../broker/wire/encode.ts'

function decode (frame: Buffer): Packet {
  const packets: Packet[] = []
  mqttPacket.parser().on('packet', (packet) => { packets.push(packet) }).parse(frame)
  if (packets.length !== 1) throw new Error(`${packets.length} packets`)
  return packets[0]!
}

t.test('a PUBLISH is what mqtt-packet writes, at every width of the remaining length', (t) => {
  for (const bytes of [0, 1, 100, 116, 117, 118, 119, 120, 127, 128, 16_370, 16_384, 70_000, 2_097_140, 2_097_152]) {
    for (const qos of [0, 1, 2] as const) {
      const flags = { qos, isRetained: bytes % 2 === 0, isDuplicate: qos > 0 && bytes % 3 === 0, packetId: 65_535 }
      const frame = encodePublish('vital/ключ', Buffer.alloc(bytes, 'x'), flags)
      const expected = mqttPacket.generate({
        cmd: 'publish',
        topic: 'vital/ключ',
        payload: Buffer.alloc(bytes, 'x'),
        qos,
        retain: flags.isRetained,
        dup: flags.isDuplicate,
        messageId: 65_535
      })
      t.ok(frame.equals(expected), `${bytes} bytes at QoS ${qos}`)
    }
  }
  t.end()
})

t.test('a PUBREL', (t) => {
  t.match(decode(encodePubrel(513)), { cmd: 'pubrel', messageId: 513 })
  t.end()
})

t.test('PUBACKs in one piece, and a CONNACK', (t) => {
  const packets: Packet[] = []
  mqttPacket.parser().on('packet', (packet) => { packets.push(packet) }).parse(encodePubacks([1, 256, 65_535]))
  t.match(packets, [1, 256, 65_535].map((messageId) => ({ cmd: 'puback', messageId })))
  t.match(decode(encodeConnack(RETURN_CODES.notAuthorized)), { cmd: 'connack', returnCode: 5, sessionPresent: false })
  t.end()
})
