import fc from 'fast-check'
import mqttPacket from 'mqtt-packet'
import t from 'tap'
import { PacketFrames } from '../../src/bridge/packet-frames.ts'
import { holds } from '../helpers/property.ts'

const publish = (payload: string) => mqttPacket.generate({
  cmd: 'publish', topic: 'a', payload, qos: 1, messageId: 7, dup: false, retain: false
}, { protocolVersion: 5 })
const PING = Buffer.from([0xd0, 0])

function collect (bodyBytesMax: number) {
  const packets: Array<{ readonly body: string, readonly isCut: boolean }> = []
  const frames = new PacketFrames({
    bodyBytesMax,
    onPacket (_firstByte, bytes, start, end, isCut) { packets.push({ body: bytes.subarray(start, end).toString('latin1'), isCut }) }
  })
  return { frames, packets }
}

t.test('packets are the same however they are cut into chunks; a packet over the bound is given as its first bytes', (t) => {
  const sizes = fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 6 })
  const steps = fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1 })
  holds(t, fc.property(sizes, steps, (sizes, steps) => {
    const sent = sizes.flatMap((size) => [publish('x'.repeat(size)), PING])
    const whole = collect(200)
    whole.frames.take(Buffer.concat(sent))
    const pieces = collect(200)
    const bytes = Buffer.concat(sent)
    for (let at = 0, turn = 0; at < bytes.length; turn++) {
      const step = steps[turn % steps.length]!
      pieces.frames.take(bytes.subarray(at, at + step))
      at += step
    }
    const expected = sizes.flatMap((size) => {
      const body = `\0\x01a\0\x07\0${'x'.repeat(size)}`
      return [{ body: body.slice(0, 200), isCut: body.length > 200 }, { body: '', isCut: false }]
    })
    return JSON.stringify(whole.packets) === JSON.stringify(expected) && JSON.stringify(pieces.packets) === JSON.stringify(expected)
  }), 200)
  t.end()
})

t.test('a malformed packet, or a large packet other than PUBLISH, ends the stream', (t) => {
  t.throws(() => { collect(10).frames.take(Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x01])) }, /variable_integer/)
  t.throws(() => { collect(10).frames.take(Buffer.from([0x90, 11])) }, /packet_size/)
  t.end()
})
