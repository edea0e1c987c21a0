import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import { type IsTrusted, toAddress } from './address.ts'
import { toCertificateNames } from './certificate-names.ts'
import { createTlsHandshakes, type ServerTls } from './tls-handshakes.ts'
import type { BrokerLimits } from '../limits.ts'
import { createLogThrottle } from '../log-throttle.ts'
import type { Origin } from './origin.ts'
import { type ProxiedClient, readProxyHeader } from './proxy-protocol.ts'

/**
 * Connections that the kernel keeps while the loop is busy; its own maximum may be lower. With Node's 511, two thirds
 * of 5,000 devices that came back at once were reset, some several times.
 */
const BACKLOG_MAX = 4096
/** A peer that vanished without a FIN is noticed after about this time and the kernel's probes. */
const TCP_KEEPALIVE_DELAY_MS = 60_000

export interface ListenerOptions {
  readonly host: string
  readonly port: number
  /** For MQTT inside TLS. */
  readonly tls?: ServerTls | undefined
  /** Peers that must send a PROXY header first. */
  readonly isProxy?: IsTrusted | undefined
  readonly limits: Pick<BrokerLimits,
    'connectionsMax' | 'handshakeTimeoutMs' | 'handshakesMax' | 'handshakesPerAddressMax' | 'proxyHeaderTimeoutMs'>
  readonly onConnection: (stream: Duplex, origin: Origin) => void
  readonly logger: Logger
}

/** Connections that a listener refused, since its start. */
export interface ListenerCounts {
  /** At `connectionsMax`. */
  readonly refused: number
  readonly handshakesRefused: number
  readonly handshakesFailed: number
  readonly proxyHeadersRefused: number
}

/** A TCP listener, with an optional PROXY header and TLS. Accepted sockets stay open when it is closed. */
export function createTcpListener ({ host, port, tls, isProxy, limits, onConnection, logger }: ListenerOptions) {
  const { connectionsMax, proxyHeaderTimeoutMs } = limits
  const throttles = {
    refused: createLogThrottle({ intervalMs: 60_000 }),
    header: createLogThrottle({ intervalMs: 10_000 })
  }
  const state = { refused: 0, proxyHeadersRefused: 0 }
  /** Their PROXY header has not come yet. */
  const withoutHeader = new Set<Socket>()
  const handshakes = tls === undefined
    ? null
    : createTlsHandshakes({
      tls,
      timeoutMs: limits.handshakeTimeoutMs,
      underWayMax: limits.handshakesMax,
      perAddressMax: limits.handshakesPerAddressMax,
      onSecure: (stream, remoteAddress) => {
        onConnection(stream, { transport: 'tls', remoteAddress, certificateNames: toCertificateNames(stream) })
      },
      logger
    })
  // Nagle's algorithm would hold an acknowledgement back for the device's delayed ACK, 40 ms a message.
  const server: Server = createServer(
    { noDelay: true, keepAlive: true, keepAliveInitialDelay: TCP_KEEPALIVE_DELAY_MS }, accept)
  server.maxConnections = connectionsMax
  server.on('drop', () => {
    state.refused++
    throttles.refused((leftOut) => {
      logger.warn({ connectionsMax, leftOut }, 'connection refused: too many connections')
    })
  })

  function accept (socket: Socket): void {
    const remoteAddress = toAddress(socket.remoteAddress)
    if (isProxy === undefined || !isProxy(remoteAddress)) {
      pass(socket, { source: remoteAddress, isSecure: false, certificateNames: [] })
      return
    }
    withoutHeader.add(socket)
    socket.once('close', () => { withoutHeader.delete(socket) })
    readProxyHeader({
      socket,
      timeoutMs: proxyHeaderTimeoutMs,
      onRead: (client) => {
        withoutHeader.delete(socket)
        pass(socket, client)
      },
      onRefused: (reason) => {
        state.proxyHeadersRefused++
        throttles.header((leftOut) => {
          const text = 'connection closed: a trusted proxy must begin with a PROXY header'
          logger.warn({ reason, remoteAddress, leftOut }, text)
        })
      }
    })
  }

  function pass (socket: Socket, { source, isSecure, certificateNames }: ProxiedClient): void {
    const remoteAddress = source ?? toAddress(socket.remoteAddress)
    if (handshakes === null) onConnection(socket, { transport: isSecure ? 'tls' : 'tcp', remoteAddress, certificateNames })
    else handshakes.begin(socket, remoteAddress)
  }

  return {
    /** @throws what `listen` failed with, such as `EADDRINUSE` */
    async start (): Promise<{ address: string, port: number }> {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen({ host, port, backlog: BACKLOG_MAX }, () => {
          server.off('error', reject)
          resolve()
        })
      })
      server.on('error', (error) => { logger.error({ err: error }, 'MQTT listener failed') })
      const bound = server.address() as AddressInfo
      const protocol = tls === undefined ? 'mqtt' : 'mqtts'
      logger.info({ protocol, address: bound.address, port: bound.port }, 'listening')
      return { address: bound.address, port: bound.port }
    },
    /** Closes connections that wait for a PROXY header or a handshake. @returns settles once no new one can come in */
    async stop (): Promise<void> {
      if (!server.listening) return
      server.close()
      for (const socket of withoutHeader) socket.destroy()
      handshakes?.stop()
      // The handle is closed at the end of this turn of the event loop.
      await new Promise<void>((resolve) => { setImmediate(resolve) })
    },
    get counts (): ListenerCounts {
      return {
        refused: state.refused,
        handshakesRefused: handshakes?.refused ?? 0,
        handshakesFailed: handshakes?.failed ?? 0,
        proxyHeadersRefused: state.proxyHeadersRefused
      }
    }
  }
}
