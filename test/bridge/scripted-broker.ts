import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import mqttPacket, { type IConnackPacket, type IConnectPacket, type Packet } from 'mqtt-packet'
import { pino } from 'pino'
import type { Test } from 'tap'
import type { Ingest } from '../../broker/ingest.ts'
import { BRIDGE_LIMITS, type BridgeLimits } from '../../src/bridge/limits.ts'
import { openMemberFile } from '../../src/bridge/member-file.ts'
import { createUpstream, toAddress, toFilter } from '../../src/bridge/upstream.ts'
import { createConfig } from '../../src/config/config.ts'
import { createTestDir } from '../helpers/postgres.ts'
import { QUICK } from './rig.ts'

const MQTT5 = { protocolVersion: 5 }

interface Script {
  readonly connack?: Partial<IConnackPacket>
  /** Bytes to send instead of a CONNACK. */
  readonly rawConnack?: Buffer
  /** The reason codes of the SUBACK. */
  readonly granted?: number
  /** Session Present of the CONNACK; by default whether the client was connected before. */
  readonly isSessionPresent?: boolean
}

/** A broker that answers as the test says, for behaviour that a real broker cannot be made to show. */
export async function startScriptedBroker (t: Test) {
  const received: Packet[] = []
  const sockets: Socket[] = []
  let script: Script = {}
  let connects = 0
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    const parser = mqttPacket.parser(MQTT5)
    const send = (packet: Packet) => { socket.write(mqttPacket.generate(packet, MQTT5)) }
    parser.on('packet', (packet) => {
      received.push(packet)
      if (packet.cmd === 'connect') {
        if (script.rawConnack !== undefined) socket.write(script.rawConnack)
        else send({ cmd: 'connack', reasonCode: 0, sessionPresent: script.isSessionPresent ?? connects > 0, ...script.connack })
        connects++
      } else if (packet.cmd === 'subscribe') {
        send({ cmd: 'suback', messageId: packet.messageId!, granted: [script.granted ?? 1] })
      } else if (packet.cmd === 'pingreq' && script.granted !== -1) {
        send({ cmd: 'pingresp' })
      }
    })
    socket.on('data', (chunk) => { parser.parse(chunk) })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const all = (cmd: Packet['cmd']) => received.filter((packet) => packet.cmd === cmd)
  return {
    url: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    all,
    connects: () => all('connect') as IConnectPacket[],
    acknowledged: () => all('puback').map(({ messageId }) => messageId),
    tell (given: Script) { script = given },
    /** Nothing is read or answered any more. */
    freeze () { sockets.at(-1)!.removeAllListeners('data').resume() },
    drop () { sockets.at(-1)!.destroy() },
    send (packet: Packet) { sockets.at(-1)!.write(mqttPacket.generate(packet, MQTT5)) },
    publish (messageId: number, { payload = 'x', topic = 'vital/d', ...rest }: {
      payload?: string, topic?: string, dup?: boolean, properties?: { messageExpiryInterval?: number }
    } = {}) {
      this.send({ cmd: 'publish', topic, payload, qos: 1, messageId, dup: false, retain: false, ...rest })
    }
  }
}

/** The bridge's connection alone, with the ingest of the test. */
export async function startUpstream (t: Test, url: string, ingest: Ingest, { limits = {}, variables = {}, dataDir }: {
  readonly limits?: Partial<BridgeLimits>
  readonly variables?: Readonly<Record<string, string>>
  readonly dataDir?: string
} = {}) {
  const config = createConfig({ VITAL_BRIDGE_URL: url, ...variables }).bridge!
  const lines: string[] = []
  const member = await openMemberFile({
    dataDir: dataDir ?? await createTestDir(t), clientId: config.clientId, broker: toAddress(config), filter: toFilter(config)
  })
  const logger = pino({ level: 'info' }, { write (line: string) { lines.push((JSON.parse(line) as { msg: string }).msg) } })
  const upstream = createUpstream({
    config, member, ingest, limits: { ...BRIDGE_LIMITS, ...QUICK, ...limits }, packetBytesMax: 65_536, logger
  })
  t.teardown(() => upstream.stop())
  return { upstream, lines, statistics: upstream.statistics }
}
