import type { Socket } from 'node:net'
import { createServer, type Server, type TLSSocket, type TlsOptions } from 'node:tls'
import type { Logger } from 'pino'
import { isLoopback, toAddressKey } from './address-key.ts'
import { createLogThrottle } from '../log-throttle.ts'

/** Options of a TLS server of any protocol. */
export interface ServerTls {
  readonly options: TlsOptions
  /** Gives the server each renewed certificate from now on; open connections keep theirs. */
  keepRenewed (server: Server): void
}

interface Handshake {
  readonly socket: Socket
  readonly address: string
  /** See `toAddressKey`. */
  readonly addressKey: string
}

interface HandshakesOptions {
  readonly tls: ServerTls
  readonly timeoutMs: number
  /** Handshakes under way; beyond, a new one is refused. */
  readonly underWayMax: number
  /** The same of one address. */
  readonly perAddressMax: number
  readonly onSecure: (stream: TLSSocket, address: string) => void
  readonly logger: Logger
}

/** TLS over connections that another listener has accepted, after a PROXY header if there is one. */
export function createTlsHandshakes (options: HandshakesOptions) {
  const { tls, timeoutMs, underWayMax, perAddressMax, onSecure, logger } = options
  const throttles = {
    failed: createLogThrottle({ intervalMs: 10_000 }),
    refused: createLogThrottle({ intervalMs: 60_000 })
  }
  const state = { failed: 0, refused: 0 }
  /** By addresses and ports, which the TLS socket and the TCP socket below it both know. */
  const underWay = new Map<string, Handshake>()
  const byAddress = new Map<string, number>()
  const keyOf = ({ remoteAddress, remotePort, localPort }: Socket) => `${remoteAddress} ${remotePort} ${localPort}`
  // Never listens: it provides Node's handshake, time-out and renewal, without a second socket.
  const server = createServer({ ...tls.options, handshakeTimeout: timeoutMs }, (stream) => {
    const key = keyOf(stream)
    const handshake = underWay.get(key)
    if (handshake !== undefined) end(key, handshake)
    // The socket closed in the same turn.
    if (handshake === undefined) stream.destroy()
    else onSecure(stream, handshake.address)
  })
  tls.keepRenewed(server)
  server.on('tlsClientError', (error: NodeJS.ErrnoException, stream) => {
    state.failed++
    throttles.failed((leftOut) => {
      const remoteAddress = underWay.get(keyOf(stream))?.address
      logger.info({ code: error.code, remoteAddress, leftOut }, 'TLS handshake failed')
    })
    stream.destroy()
  })

  function end (key: string, handshake: Handshake): void {
    // Another connection may have come from the same port by then.
    if (underWay.get(key) !== handshake) return
    underWay.delete(key)
    const others = (byAddress.get(handshake.addressKey) ?? 0) - 1
    if (others > 0) byAddress.set(handshake.addressKey, others)
    else byAddress.delete(handshake.addressKey)
  }

  return {
    /** @param address - of the client: the peer of `socket` may be a proxy */
    begin (socket: Socket, address: string): void {
      const addressKey = toAddressKey(address)
      const ofAddress = byAddress.get(addressKey) ?? 0
      if (underWay.size >= underWayMax || (ofAddress >= perAddressMax && !isLoopback(address))) {
        state.refused++
        throttles.refused((leftOut) => {
          const counts = { ofAddress, underWay: underWay.size }
          logger.warn({ remoteAddress: address, ...counts, leftOut }, 'connection refused: too many TLS handshakes under way')
        })
        socket.destroy()
        return
      }
      const key = keyOf(socket)
      const handshake = { socket, address, addressKey }
      underWay.set(key, handshake)
      byAddress.set(addressKey, ofAddress + 1)
      socket.once('close', () => { end(key, handshake) })
      server.emit('connection', socket)
    },
    /** Destroys sockets whose handshake is under way. */
    stop (): void {
      for (const { socket } of [...underWay.values()]) socket.destroy()
    },
    get failed (): number { return state.failed },
    get refused (): number { return state.refused }
  }
}
