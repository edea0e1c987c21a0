import type { Socket } from 'node:net'
import { createServer, type Server, type TLSSocket, type TlsOptions } from 'node:tls'
import type { Logger } from 'pino'
import { createOccasional } from './occasional.ts'

/** What a TLS server needs, of whichever protocol. */
export interface ServerTls {
  readonly options: TlsOptions
  /** Gives the server each renewed certificate from now on; connections that are there keep theirs. */
  keepRenewed (server: Server): void
}

interface HandshakesOptions {
  readonly tls: ServerTls
  readonly timeoutMs: number
  /** Handshakes under way; beyond, a new one is refused. */
  readonly underWayMax: number
  readonly onSecure: (stream: TLSSocket, address: string) => void
  readonly logger: Logger
}

/** TLS over connections that another listener has accepted, after a PROXY header if there is one. */
export function createHandshakes ({ tls, timeoutMs, underWayMax, onSecure, logger }: HandshakesOptions) {
  const occasionally = { failed: createOccasional({ intervalMs: 10_000 }), refused: createOccasional({ intervalMs: 60_000 }) }
  const state = { failed: 0, refused: 0 }
  /** Addresses by what both the socket beneath and the one above know of themselves. */
  const underWay = new Map<string, { readonly address: string }>()
  const keyOf = ({ remoteAddress, remotePort, localPort }: Socket) => `${remoteAddress} ${remotePort} ${localPort}`
  // It never listens: it is Node's handshake, time-out and renewal, without a second socket.
  const server = createServer({ ...tls.options, handshakeTimeout: timeoutMs }, (stream) => {
    const key = keyOf(stream)
    const handshake = underWay.get(key)
    underWay.delete(key)
    // It went in the same turn.
    if (handshake === undefined) stream.destroy()
    else onSecure(stream, handshake.address)
  })
  tls.keepRenewed(server)
  server.on('tlsClientError', (error: NodeJS.ErrnoException, stream) => {
    state.failed++
    occasionally.failed((leftOut) => {
      logger.info({ code: error.code, remoteAddress: underWay.get(keyOf(stream))?.address, leftOut }, 'TLS handshake failed')
    })
    stream.destroy()
  })

  return {
    /** @param address - whose connection it is, when that is not who `socket` says */
    begin (socket: Socket, address: string): void {
      if (underWay.size >= underWayMax) {
        state.refused++
        occasionally.refused((leftOut) => { logger.warn({ underWayMax, leftOut }, 'connection refused: too many TLS handshakes under way') })
        socket.destroy()
        return
      }
      const key = keyOf(socket)
      const handshake = { address }
      underWay.set(key, handshake)
      socket.once('close', () => { if (underWay.get(key) === handshake) underWay.delete(key) })
      server.emit('connection', socket)
    },
    /** Handshakes under way, now. */
    get underWay (): number { return underWay.size },
    get failed (): number { return state.failed },
    get refused (): number { return state.refused }
  }
}
