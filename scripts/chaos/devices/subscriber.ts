// Subscribers of everything, in a process of their own that can be frozen. Arguments: port, how many, name.
import { connect } from 'node:net'
import { CONNACK, FrameScanner } from '../../harness/packet-scanner.ts'
import { encodeConnect, encodeSubscribe } from '../../harness/packet-encoder.ts'

const SUBACK = 0x90
const PUBLISH = 0x30

const [port, count, name] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4] ?? '']
let delivered = 0
let ready = 0

for (let index = 0; index < count; index++) {
  const scanner = new FrameScanner()
  const socket = connect({ host: '127.0.0.1', port, noDelay: true })
  socket.on('connect', () => socket.write(encodeConnect(`${name}-${index}`, 0)))
  socket.on('error', () => { /* The gateway may drop it on purpose. */ })
  socket.on('data', (chunk: Buffer) => scanner.scan(chunk, chunk.length, (type) => {
    if (type === CONNACK) socket.write(encodeSubscribe(1, ['vital/#']))
    else if (type === SUBACK && ++ready === count) process.send?.({ ready, delivered })
    else if ((type & 0xf0) === PUBLISH) delivered++
  }))
}
setInterval(() => process.send?.({ ready, delivered }), 500)
process.on('disconnect', () => process.exit())
process.on('SIGINT', () => {})
