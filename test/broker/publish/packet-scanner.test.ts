import mqttPacket, { type Packet } from 'mqtt-packet'
import t from 'tap'
import { createTraffic, PacketScanner, SCAN, type ScanMode } from '../../../broker/publish/packet-scanner.ts'
import { PUBLISH } from '../../../broker/wire/fixed-header.ts'
import { connectPacket, createRandom, publishPacket } from '../../helpers/broker.ts'

/** A scanner whose CONNECT has passed, and its counters. */
const createScanner = (packetBytesMax = 1000) => {
  const traffic = createTraffic()
  const scanner = new PacketScanner({ traffic, packetBytesMax })
  scanner.scan(mqttPacket.generate(connectPacket()), SCAN.all)
  traffic.packetsByType.fill(0)
  traffic.bytesReceived = 0
  return { traffic, scanner }
}

const PACKETS: Packet[] = [
  { cmd: 'pingreq' }, { cmd: 'puback', messageId: 3 }, publishPacket(1), publishPacket(2, { payload: 'x'.repeat(300) }),
  {
    cmd: 'subscribe', messageId: 4, subscriptions: [{ topic: 'a', qos: 0 }]
  }, publishPacket(0, { qos: 0, payload: '' }), { cmd: 'unsubscribe', messageId: 5, unsubscriptions: ['größe', 'x'.repeat(200)] }
]

t.test('boundaries are followed however the stream is cut', (t) => {
  const seed = Date.now() % 1_000_000
  t.comment(`seed ${seed}`)
  const random = createRandom(seed)
  for (let run = 0; run < 200; run++) {
    const packets = Array.from({ length: 20 }, () => PACKETS[Math.floor(random() * PACKETS.length)]!)
    const stream = Buffer.concat(packets.map((packet) => mqttPacket.generate(packet)))
    const { scanner, traffic } = createScanner()
    for (let at = 0; at < stream.length;) {
      const next = Math.min(stream.length, at + Math.ceil(random() ** 3 * 200))
      const chunk = stream.subarray(at, next)
      if (scanner.scan(chunk, SCAN.all) !== chunk.length) throw new Error(`seed ${seed}: stopped`)
      at = next
    }
    if (!scanner.atBoundary || scanner.violation !== null) throw new Error(`seed ${seed}: not at a boundary`)
    if (traffic.packetsByType[PUBLISH] !== packets.filter(({ cmd }) => cmd === 'publish').length) throw new Error(`seed ${seed}: publishes`)
    if (traffic.packetsByType.reduce((sum, count) => sum + count, 0) !== packets.length) throw new Error(`seed ${seed}: packets`)
    if (traffic.bytesReceived !== stream.length) throw new Error(`seed ${seed}: bytes`)
  }
  t.pass('200 streams')
  t.end()
})

t.test('each mode stops where it must, at any cut', (t) => {
  const before = Buffer.concat([mqttPacket.generate({ cmd: 'pingreq' }), mqttPacket.generate({ cmd: 'puback', messageId: 1 })])
  const publish = mqttPacket.generate(publishPacket(1, { payload: 'x'.repeat(200) }))
  const stops = (mode: ScanMode, stream: Buffer, cut: number): number => {
    const { scanner } = createScanner()
    const passed = scanner.scan(stream.subarray(0, cut), mode)
    return passed < cut ? passed : cut + scanner.scan(stream.subarray(cut), mode)
  }
  const stream = Buffer.concat([before, publish, before])
  for (let cut = 1; cut < stream.length; cut++) {
    if (stops(SCAN.untilPublish, stream, cut) !== before.length) throw new Error(`cut at ${cut}`)
    if (stops(SCAN.all, stream, cut) !== stream.length) throw new Error(`cut at ${cut}`)
  }
  const begun = createScanner().scanner
  begun.scan(publish.subarray(0, 1), SCAN.all)
  t.equal(begun.scan(Buffer.concat([publish.subarray(1), publish]), SCAN.untilPublish), publish.length - 1,
    'a PUBLISH that has begun is completed')
  const first = createScanner().scanner
  t.equal(first.scan(stream, SCAN.onePacket), 2, 'an empty packet')
  t.equal(first.scan(stream.subarray(2), SCAN.onePacket), 4)
  t.equal(first.scan(publish, SCAN.onePacket), publish.length)
  t.end()
})

t.test('no packet passes behind DISCONNECT, wherever the stream is cut', (t) => {
  const ping = mqttPacket.generate({ cmd: 'pingreq' })
  const disconnect = Buffer.from([0xe0, 0])
  const stream = Buffer.concat([ping, disconnect, ping, mqttPacket.generate(publishPacket(1)), ping])
  for (const mode of Object.values(SCAN)) {
    for (let cut = 1; cut < stream.length; cut++) {
      const { scanner } = createScanner()
      let passed = 0
      for (const chunk of [stream.subarray(0, cut), stream.subarray(cut)]) {
        for (let at = 0, step = 1; step > 0; at += step, passed += step) step = scanner.scan(chunk.subarray(at), mode)
      }
      if (passed !== ping.length + disconnect.length || !scanner.isOver) throw new Error(`cut at ${cut}: ${passed}`)
    }
  }
  t.pass('all cuts')
  t.end()
})

t.test('limits are checked at the header, wherever it is cut, and packets before it pass', (t) => {
  const ping = mqttPacket.generate({ cmd: 'pingreq' })
  const cases = [
    { header: [0x30, 0xe6, 0x07], violation: null, told: '1,001 in total' },
    { header: [0x30, 0xe5, 0x07], violation: null, told: '1,000 in total' },
    { header: [0x30, 0xe7, 0x07], violation: 'packet_too_large', told: '1,002 in total' },
    { header: [0x30, 0xff, 0xff, 0xff, 0x7f], violation: 'packet_too_large', told: '256 MiB' },
    { header: [0x30, 0x80, 0x80, 0x80, 0x80], violation: 'malformed_length', told: 'a fifth length byte' },
    { header: [0x30, 0xff, 0xff, 0xff, 0xff], violation: 'malformed_length', told: 'a fifth length byte' }
  ] as const
  for (const { header, violation, told } of cases) {
    const stream = Buffer.concat([ping, Buffer.from(header)])
    for (let cut = 1; cut <= stream.length; cut++) {
      const { scanner } = createScanner(1001)
      const passed = scanner.scan(stream.subarray(0, cut), SCAN.all)
      const rest = scanner.violation === null ? scanner.scan(stream.subarray(cut), SCAN.all) : 0
      if (scanner.violation !== violation) throw new Error(`${told}: ${scanner.violation}, cut at ${cut}`)
      if (violation !== null && passed + rest > Math.max(2, cut)) throw new Error(`${told}: passed ${passed}, ${rest}`)
    }
    t.pass(told)
  }
  t.end()
})

t.test('a packet that breaks a rule is found wherever it is cut, however large it is, and its last byte does not pass', (t) => {
  const ping = mqttPacket.generate({ cmd: 'pingreq' })
  const filters = Array.from({ length: 100 }, (_, index) => ({ topic: `ward/${index}`, qos: 0 as const }))
  const subscribe = mqttPacket.generate({ cmd: 'subscribe', messageId: 1, subscriptions: [...filters, { topic: 'ward/!', qos: 0 }] })
  subscribe[subscribe.length - 2] = 0x80
  const publish = mqttPacket.generate(publishPacket(1, { topic: `vital/${'x'.repeat(300)}!`, payload: 'x'.repeat(600) }))
  publish[publish.indexOf('!')] = 0
  for (const packet of [subscribe, publish]) {
    const stream = Buffer.concat([ping, packet, ping])
    for (let cut = 1; cut < stream.length; cut++) {
      for (const pieceBytes of [1, 7, 100_000]) {
        const { scanner } = createScanner(10_000)
        let passed = scanner.scan(stream.subarray(0, cut), SCAN.all)
        for (let at = cut; at < stream.length && scanner.violation === null; at += pieceBytes) {
          passed += scanner.scan(stream.subarray(at, Math.min(at + pieceBytes, stream.length)), SCAN.all)
        }
        if (scanner.violation !== 'text') throw new Error(`${scanner.violation}, cut at ${cut}`)
        if (passed >= ping.length + packet.length) throw new Error(`passed ${passed}, cut at ${cut}`)
      }
    }
  }
  t.pass('all cuts')
  t.end()
})
