import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import mqttPacket, { type Packet } from 'mqtt-packet'
import { pino } from 'pino'
import type { Test } from 'tap'
import { type ClientOptions, createWebSocketStream, WebSocket } from 'ws'
import { createAddressSet } from '../../broker/listen/address.ts'
import type { BrokerOptions } from '../../broker/broker.ts'
import type { Verdict, VitalPublish } from '../../broker/ingest.ts'
import { DEFAULT_LIMITS } from '../../broker/limits.ts'
import type { Origin } from '../../broker/listen/origin.ts'
import { createWebSockets } from '../../broker/listen/web-socket.ts'
import { createTls, type Tls, type TlsFiles } from '../../src/transport/tls.ts'
import { startBroker, type TestBroker } from './broker.ts'
import { startHttpServer } from './http-server.ts'
import type { Authority } from './certificates.ts'

/** Every way into the broker. */
export const TRANSPORTS = ['tcp', 'tls', 'ws', 'wss'] as const
export type Transport = typeof TRANSPORTS[number]

interface Options extends Omit<Partial<BrokerOptions>, 'secure' | 'isProxy'> {
  readonly answer?: (publish: VitalPublish) => Verdict
  readonly webSocketOrigins?: readonly string[]
  readonly trustedProxies?: readonly string[]
  readonly proxyProtocol?: boolean
  readonly files?: Partial<TlsFiles>
}

/** A broker that listens on every transport, with the origins of its connections. */
export interface TestTransports extends TestBroker {
  readonly ports: Readonly<Record<Transport, number>>
  readonly authority: Authority
  readonly ca: Buffer
  readonly tls: Tls
  readonly origins: Origin[]
  readonly refused: () => number
  stopWebSockets (): void
}

/** Starts a broker on every transport, stopped with the test. */
export async function startTransports (t: Test, authority: Authority, options: Options = {}): Promise<TestTransports> {
  const { webSocketOrigins = [], trustedProxies = [], proxyProtocol = false, files, ...brokerOptions } = options
  const origins: Origin[] = []
  const logger = pino({ level: 'silent' })
  const server = await authority.issueServer()
  const tls = await createTls({
    files: { certFile: server.cert, keyFile: server.key, clientCaFile: null, clientCertRequired: false, ...files }, logger
  })
  const isProxy = createAddressSet(trustedProxies)
  const started = await startBroker(t, {
    secure: { host: '127.0.0.1', port: 0, tls },
    isProxy: proxyProtocol ? isProxy : undefined,
    authenticate: ({ origin }) => {
      origins.push(origin)
      return { status: 'accepted', principal: null }
    },
    ...brokerOptions
  })
  const limits = { ...DEFAULT_LIMITS, ...options.limits }
  const webSockets = createWebSockets({ onConnection: started.broker.accept, origins: webSocketOrigins, limits, logger })
  const http = await startHttpServer(t, { webSockets, isProxy })
  const https = await startHttpServer(t, { webSockets, isProxy, tls })
  // Registered last, so that it runs before the teardowns of the servers, which wait for their sockets.
  t.teardown(() => started.broker.stop())
  return {
    ...started,
    ports: { tcp: started.port, tls: started.securePort!, ws: http.port, wss: https.port },
    authority,
    ca: await readFile(authority.ca),
    tls,
    origins,
    refused: () => webSockets.refused,
    stopWebSockets: webSockets.stop
  }
}

/** How {@link openStream} connects. */
export interface ConnectOptions extends ConnectionOptions {
  readonly path?: string
  readonly protocols?: string[]
  readonly webSocket?: ClientOptions
}

/** An open stream to the broker, destroyed with the test. */
export async function openStream (
  t: Test, { ports, ca }: TestTransports, transport: Transport, options: ConnectOptions = {}
): Promise<Duplex> {
  const { path = '/mqtt', protocols = ['mqtt'], webSocket = {}, ...connection } = options
  const port = ports[transport]
  let stream: Duplex
  switch (transport) {
    case 'tcp':
      stream = connect({ port, host: '127.0.0.1', noDelay: true })
      break
    case 'tls':
      stream = connectTls({ port, host: '127.0.0.1', ca, ...connection })
      break
    case 'ws':
    case 'wss': {
      const client = new WebSocket(`${transport}://127.0.0.1:${port}${path}`, protocols, {
        ca, ...connection, ...webSocket
      } as ClientOptions)
      stream = createWebSocketStream(client)
      t.teardown(() => { stream.destroy() })
      await once(client, 'open')
      stream.on('error', () => {})
      return stream
    }
  }
  t.teardown(() => { stream.destroy() })
  await once(stream, transport === 'tls' ? 'secureConnect' : 'connect')
  stream.on('error', () => {})
  return stream
}

/** The packets that come in on a stream. */
export function collectPackets (stream: Duplex, protocolVersion: 4 | 5 = 4): Packet[] {
  const packets: Packet[] = []
  const parser = mqttPacket.parser({ protocolVersion })
  parser.on('packet', (packet) => { packets.push(packet) })
  stream.on('data', (chunk: Buffer) => { parser.parse(chunk) })
  return packets
}
