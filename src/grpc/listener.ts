import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import type { Logger } from 'pino'
import { toAddress } from '../../broker/listen/address.ts'
import { createTlsHandshakes, type ServerTls } from '../../broker/listen/tls-handshakes.ts'
import { DEFAULT_LIMITS } from '../../broker/limits.ts'
import { GRPC_LIMITS } from './limits.ts'

/** Options of {@link createGrpcListener}. */
export interface GrpcListenerOptions {
  readonly host: string
  /** 0 picks a free port. */
  readonly port: number
  /** gRPC inside TLS, and nothing else. */
  readonly tls: ServerTls | undefined
  readonly connectionsMax: number
  /** A connection that is to speak HTTP/2. */
  readonly onConnection: (socket: Socket) => void
  readonly logger: Logger
}

/**
 * Accepts connections, and hands them to the library, whose own listener has neither a bound nor renewed certificates.
 */
export function createGrpcListener ({ host, port, tls, connectionsMax, onConnection, logger }: GrpcListenerOptions) {
  const open = new Set<Socket>()
  const handshakes = tls === undefined
    ? null
    : createTlsHandshakes({
      tls: { ...tls, options: { ...tls.options, ALPNProtocols: ['h2'] } },
      timeoutMs: DEFAULT_LIMITS.handshakeTimeoutMs,
      underWayMax: DEFAULT_LIMITS.handshakesMax,
      perAddressMax: DEFAULT_LIMITS.handshakesPerAddressMax,
      onSecure: (socket) => {
        // HTTP/2 inside TLS is agreed on by ALPN (RFC 9113 §3.2).
        if (socket.alpnProtocol === 'h2') onConnection(socket)
        else socket.destroy()
      },
      logger
    })
  // Nagle's algorithm would hold an answer back for the client's delayed ACK.
  const options = { noDelay: true, keepAlive: true, keepAliveInitialDelay: GRPC_LIMITS.tcpKeepAliveDelayMs }
  const server: Server = createServer(options, (socket) => {
    open.add(socket)
    socket.once('close', () => { open.delete(socket) })
    socket.on('error', () => { socket.destroy() })
    if (handshakes === null) onConnection(socket)
    else handshakes.begin(socket, toAddress(socket.remoteAddress))
  })
  server.maxConnections = connectionsMax

  return {
    get connections (): number {
      return open.size
    },
    /** @throws the error of `listen`, such as `EADDRINUSE` */
    async start (): Promise<{ address: string, port: number }> {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen({ host, port, backlog: GRPC_LIMITS.backlogMax }, () => {
          server.off('error', reject)
          resolve()
        })
      })
      server.on('error', (error) => { logger.error({ err: error }, 'gRPC listener failed') })
      const bound = server.address() as AddressInfo
      const protocol = tls === undefined ? 'grpc' : 'grpcs'
      logger.info({ protocol, address: bound.address, port: bound.port }, 'listening')
      return { address: bound.address, port: bound.port }
    },
    /** Accepts no more connections; open ones stay. */
    stopListening (): void {
      if (server.listening) server.close()
      handshakes?.stop()
    },
    /** Closes every connection. */
    destroy (): void {
      for (const socket of open) socket.destroy()
    }
  }
}
