import { parser, type Packet } from 'mqtt-packet'
import t from 'tap'
import { encodeConnect, encodePublish, PINGREQ } from '../../../scripts/harness/packet-encoder.ts'
import { DISCONNECT, FrameScanner, PUBACK } from '../../../scripts/harness/packet-scanner.ts'

function parse (bytes: Buffer): Packet[] {
  const packets: Packet[] = []
  const decoder = parser()
  decoder.on('packet', (packet) => packets.push(packet))
  decoder.on('error', (error) => { throw error })
  decoder.parse(bytes)
  return packets
}

t.test('another implementation decodes encoded packets to the same values', (t) => {
  const payload = Buffer.alloc(300, 'x')
  const publish = encodePublish('vital/a', payload, 515)
  const [connect, first, second, ping] = parse(Buffer.concat([
    encodeConnect('someone', 60), publish, encodePublish('vital/b', Buffer.from('{}')), PINGREQ
  ]))
  t.match(connect, { cmd: 'connect', clientId: 'someone', keepalive: 60, clean: true, protocolVersion: 4 })
  t.match(first, { cmd: 'publish', topic: 'vital/a', qos: 1, messageId: 515, dup: false, retain: false })
  t.same(first?.cmd === 'publish' && first.payload, payload)
  t.same(publish.subarray(-payload.length), payload, 'the payload is the end of the packet')
  t.match(second, { cmd: 'publish', topic: 'vital/b', qos: 0 })
  t.match(ping, { cmd: 'pingreq' })
  t.end()
})

t.test('frames are found wherever TCP cuts them', (t) => {
  const long = Buffer.concat([Buffer.from([0x30, 0xc8, 0x01]), Buffer.alloc(200, 7)])
  const bytes = Buffer.concat([
    Buffer.from([0x20, 2, 0, 5, PUBACK, 2, 0, 1, PUBACK, 2, 1, 0, 0xd0, 0]), long, Buffer.from([PUBACK, 2, 255, 255])
  ])
  const expected = [[0x20, 5], [PUBACK, 1], [PUBACK, 256], [0xd0, 0], [0x30, 0x0707], [PUBACK, 65535]]
  for (let size = 1; size <= bytes.length; size++) {
    const scanner = new FrameScanner()
    const found: number[][] = []
    for (let at = 0; at < bytes.length; at += size) {
      const chunk = bytes.subarray(at, at + size)
      scanner.scan(chunk, chunk.length, (type, word) => found.push([type, word]))
    }
    t.same(found, expected, `in pieces of ${size}`)
  }
  t.end()
})

t.test('reason codes of MQTT 5', (t) => {
  const bytes = Buffer.from([
    PUBACK, 4, 0, 1, 0x99, 0, PUBACK, 3, 0, 2, 0x10, PUBACK, 2, 0, 3, DISCONNECT, 2, 0x89, 0, DISCONNECT, 1, 0x8b, DISCONNECT, 0
  ])
  for (let size = 1; size <= bytes.length; size++) {
    const scanner = new FrameScanner()
    const found: number[][] = []
    for (let at = 0; at < bytes.length; at += size) {
      const chunk = bytes.subarray(at, at + size)
      scanner.scan(chunk, chunk.length, (type, word, code) => found.push(type === PUBACK ? [word, code] : [code]))
    }
    t.same(found, [[1, 0x99], [2, 0x10], [3, 0], [0x89], [0x8b], [0]], `in pieces of ${size}`)
  }
  t.end()
})

t.test('bytes beyond the given length are ignored', (t) => {
  const scanner = new FrameScanner()
  const chunk = Buffer.from([PUBACK, 2, 0, 1, PUBACK, 2, 0, 2])
  let count = 0
  scanner.scan(chunk, 6, () => count++)
  t.equal(count, 1)
  t.end()
})
