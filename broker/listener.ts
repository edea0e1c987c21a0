import { createServer, type AddressInfo, type Server } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import { createOccasional } from './occasional.ts'
import type { Origin } from './origin.ts'

/** A peer that vanished without a word is noticed after about this time and the kernel's probes. */
const TCP_KEEPALIVE_DELAY_MS = 60_000

interface ListenerOptions {
  readonly host: string
  readonly port: number
  readonly connectionsMax: number
  readonly onConnection: (stream: Duplex, origin: Origin) => void
  readonly logger: Logger
}

/** The TCP listener. Sockets that it has accepted stay open when it is closed. */
export function createListener ({ host, port, connectionsMax, onConnection, logger }: ListenerOptions) {
  const occasionally = createOccasional({ intervalMs: 60_000 })
  const state = { refused: 0 }
  // Nagle's algorithm would hold an acknowledgement back for the device's delayed ACK, 40 ms a message.
  const server: Server = createServer(
    { noDelay: true, keepAlive: true, keepAliveInitialDelay: TCP_KEEPALIVE_DELAY_MS },
    (socket) => { onConnection(socket, { transport: 'tcp', remoteAddress: socket.remoteAddress ?? '', certificateNames: [] }) })
  server.maxConnections = connectionsMax
  server.on('drop', () => {
    state.refused++
    occasionally((leftOut) => {
      logger.warn({ connectionsMax, leftOut }, 'connection refused: too many connections')
    })
  })

  return {
    /** @throws what `listen` failed with, such as `EADDRINUSE` */
    async start (): Promise<AddressInfo> {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen({ host, port }, () => {
          server.off('error', reject)
          resolve()
        })
      })
      server.on('error', (error) => { logger.error({ err: error }, 'MQTT listener failed') })
      return server.address() as AddressInfo
    },
    /** @returns settles once no new connection can come in */
    async stop (): Promise<void> {
      if (!server.listening) return
      server.close()
      // The handle is closed at the end of this turn of the event loop.
      await new Promise<void>((resolve) => { setImmediate(resolve) })
    },
    get refused (): number {
      return state.refused
    }
  }
}
