import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import type { Logger } from 'pino'
import type { BrokerLimits } from '../limits.ts'
import { createLogThrottle } from '../log-throttle.ts'
import type { Origin } from './origin.ts'
import { WebSocketStream } from './web-socket-stream.ts'

/** The path of MQTT over WebSocket, by convention of brokers and clients. */
export const WEB_SOCKET_PATH = '/mqtt'
/** Subprotocols in the order of preference: MQTT 3.1.1 [MQTT-6.0.0-4] and 3.1. */
const SUBPROTOCOLS = ['mqtt', 'mqttv3.1']
/** ws holds an object for each piece of a frame; this many bytes a piece are the least that a link delivers. */
const CHUNK_BYTES_MIN = 256
const FRAGMENTS_MAX = 1024
/** Bytes that one read of a socket may bring beyond a CONNECT of the largest size. */
const READ_BYTES = 64 * 1024
/** Characters of an Origin header that are logged. */
const PAGE_LENGTH_MAX = 256

interface WebSocketsOptions {
  readonly onConnection: (stream: Duplex, origin: Origin) => void
  /** Origins whose pages may connect, such as `https://ward.example.org`. */
  readonly origins: readonly string[]
  readonly limits: Pick<BrokerLimits, 'packetBytesMax' | 'connectPacketBytesMax'>
  readonly logger: Logger
}

/** Why an upgrade is refused. */
export type WebSocketRefusal = 'invalid' | 'origin' | 'stopping'

/** An HTTP request that asks to become a WebSocket. */
export interface Upgrade {
  readonly request: IncomingMessage
  readonly socket: Duplex
  /** Bytes behind the request. */
  readonly head: Buffer
  /** Of the request; the connection's transport becomes `ws` or `wss`. */
  readonly origin: Origin
  /** Answers and ends the socket. */
  readonly refuse: (reason: WebSocketRefusal) => void
}

export type WebSockets = ReturnType<typeof createWebSockets>

/**
 * MQTT over WebSocket, behind an HTTP server's upgrade. Frames are not compressed: a few bytes could
 * expand to the largest packet, thousands of times.
 */
export function createWebSockets ({ onConnection, origins, limits, logger }: WebSocketsOptions) {
  const throttle = createLogThrottle({ intervalMs: 10_000 })
  const allowed = new Set(origins.map((origin) => origin.toLowerCase()))
  const state = { stopping: false, refused: 0 }
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: limits.packetBytesMax,
    maxFragments: FRAGMENTS_MAX,
    maxBufferedChunks: Math.max(FRAGMENTS_MAX, Math.ceil(limits.packetBytesMax / CHUNK_BYTES_MIN)),
    handleProtocols: (offered) => SUBPROTOCOLS.find((name) => offered.has(name)) ?? false
  })
  const underWay = new WeakMap<IncomingMessage, Upgrade>()
  server.on('wsClientError', (_error, _socket, request) => {
    const upgrade = underWay.get(request)
    if (upgrade !== undefined) refuse(upgrade, 'invalid')
  })

  function refuse ({ request, origin, refuse: answer }: Upgrade, reason: WebSocketRefusal): void {
    state.refused++
    throttle((leftOut) => {
      const { remoteAddress } = origin
      const page = request.headers.origin?.slice(0, PAGE_LENGTH_MAX)
      logger.info({ reason, remoteAddress, page, leftOut }, 'WebSocket refused')
    })
    answer(reason)
  }

  function accept (upgrade: Upgrade): void {
    const { request, socket, head, origin } = upgrade
    const refusal = state.stopping ? 'stopping' : toRefusal(request, allowed)
    if (refusal !== null) {
      refuse(upgrade, refusal)
      return
    }
    underWay.set(request, upgrade)
    server.handleUpgrade(request, socket, head, (webSocket) => {
      const stream = new WebSocketStream({
        socket: webSocket,
        transport: socket,
        unansweredBytesMax: limits.connectPacketBytesMax + READ_BYTES,
        isStopping: () => state.stopping
      })
      onConnection(stream, { ...origin, transport: origin.transport === 'tls' ? 'wss' : 'ws' })
    })
    // ws has answered, or emitted an error. The value of the entry refers to its key, and would keep both until the
    // next major collection.
    underWay.delete(request)
  }

  return {
    /** Destroys the socket, answers it, or makes it a connection. */
    accept,
    /** Refuses further upgrades; streams that end from now on close with 1001, going away. */
    stop (): void { state.stopping = true },
    /** Upgrades refused since the start. */
    get refused (): number { return state.refused }
  }
}

/** `null` where the upgrade may go on; ws checks the rest. */
function toRefusal ({ headers }: IncomingMessage, allowed: ReadonlySet<string>): 'invalid' | 'origin' | null {
  const offered = headers['sec-websocket-protocol']?.split(',').map((name) => name.trim()) ?? []
  if (!SUBPROTOCOLS.some((name) => offered.includes(name))) return 'invalid' // [MQTT-6.0.0-3]
  const { origin, host } = headers
  return origin === undefined || isAllowedOrigin(origin.toLowerCase(), host?.toLowerCase(), allowed) ? null : 'origin'
}

/**
 * A browser lets every page connect everywhere, this machine's loopback included, and sends the page's origin; other
 * clients send none. A page of the gateway's own address may connect, unless that address is a name: the owner of a
 * name may point it at this machine (DNS rebinding), so the origin of a name must be listed.
 */
export function isAllowedOrigin (origin: string, host: string | undefined, allowed: ReadonlySet<string>): boolean {
  if (allowed.has(origin)) return true
  if (!URL.canParse(origin) || host === undefined) return false
  const { host: originHost, hostname, protocol } = new URL(origin)
  const isFixed = hostname === 'localhost' || isIP(hostname.replace(/^\[|\]$/g, '')) !== 0
  // A URL leaves its protocol's port out, and the Host header may state it.
  return isFixed && (originHost === host || `${originHost}:${protocol === 'https:' ? 443 : 80}` === host)
}
