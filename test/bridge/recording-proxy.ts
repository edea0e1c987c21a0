import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import mqttPacket, { type Packet } from 'mqtt-packet'
import type { Test } from 'tap'

/** A proxy between bridge and broker. It notes the payloads that the bridge acknowledged: these must be stored. */
export async function startRecordingProxy (t: Test, port: number) {
  const acknowledged = new Set<string>()
  const server = createServer((bridge) => {
    const broker = connect(port, '127.0.0.1')
    const sent = new Map<number, string>()
    for (const [from, to, take] of [
      [broker, bridge, (packet: Packet) => { if (packet.cmd === 'publish') sent.set(packet.messageId!, packet.payload.toString()) }],
      [bridge, broker, (packet: Packet) => { if (packet.cmd === 'puback') acknowledged.add(sent.get(packet.messageId!)!) }]
    ] as const) {
      const parser = mqttPacket.parser({ protocolVersion: 5 })
      parser.on('packet', take)
      parser.on('error', () => {})
      from.on('data', (chunk) => { parser.parse(chunk) }).on('error', () => {}).on('close', () => { to.destroy() }).pipe(to)
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  return { url: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`, acknowledged }
}
