import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from 'node:http'
import { createServer as createSecureServer, type Server as SecureServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { ServerTls } from '../../broker/listen/tls-handshakes.ts'
import type { WebSockets } from '../../broker/listen/web-socket.ts'
import { noteOwed, refuseRequest, refuseUpgrade } from './error-answer.ts'
import { HTTP_LIMITS } from './limits.ts'
import type { ToOrigin } from './origin.ts'
import { createSocketSet } from './sockets.ts'
import { UpgradableRequest } from './upgradable-request.ts'

/** Options of {@link createListener}. */
export interface HttpListenerOptions {
  readonly handler: (request: IncomingMessage, response: ServerResponse) => void
  /** With it HTTP is spoken inside TLS, and nothing else. */
  readonly tls?: ServerTls | undefined
  /** Takes upgrades at its path; without it no upgrade is accepted. */
  readonly webSockets?: WebSockets | undefined
  readonly toOrigin: ToOrigin
  readonly connectionsMax: number
}

export interface Listener {
  readonly server: Server
  /** @returns its address, once it listens */
  listen (host: string, port: number): Promise<{ address: string, port: number }>
  /** Accepts no more connections, closes idle ones, and closes each of the others after its next answer. */
  stopListening (): void
  /** {@link Listener.stopListening}, then settles once every socket is closed, which it enforces after `timeoutMs`. */
  close (timeoutMs: number): Promise<void>
}

/**
 * The node:http server under Fastify. We create it, so that all its limits stand in one place, and because Fastify's
 * own `close` has no bound: Node counts a socket that never sent a byte as busy, and browsers open such sockets ahead.
 */
export function createListener ({ handler, tls, webSockets, toOrigin, connectionsMax }: HttpListenerOptions): Listener {
  const sockets = createSocketSet(connectionsMax)
  const options: ServerOptions = {
    // Detects a WebSocket peer that vanished without closing its connection.
    keepAlive: true,
    keepAliveInitialDelay: HTTP_LIMITS.tcpKeepAliveDelayMs,
    keepAliveTimeout: HTTP_LIMITS.keepAliveTimeoutMs,
    requestTimeout: HTTP_LIMITS.requestTimeoutMs,
    headersTimeout: HTTP_LIMITS.headersTimeoutMs,
    connectionsCheckingInterval: HTTP_LIMITS.connectionsCheckingIntervalMs,
    maxHeaderSize: HTTP_LIMITS.headerBytesMax,
    // Node would answer without a body.
    requireHostHeader: false,
    IncomingMessage: UpgradableRequest
  }
  const server = tls === undefined
    ? createServer(options, serve)
    : createSecureServer({ ...options, ...tls.options, handshakeTimeout: HTTP_LIMITS.handshakeTimeoutMs }, serve)
  tls?.keepRenewed(server as SecureServer)
  // A client may end its side after its request and still read the answer; Node would end the connection at once. The
  // types of Node lack this option.
  Object.assign(server, { httpAllowHalfOpen: true })
  server.setTimeout(HTTP_LIMITS.connectionTimeoutMs)
  server.on('connection', (socket: Socket) => { sockets.open(socket, tls !== undefined) })
  server.on('secureConnection', (socket: Socket) => { sockets.secure(socket) })
  if (webSockets !== undefined) {
    server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
      sockets.upgrade(socket)
      webSockets.accept({
        request, socket, head, origin: toOrigin(request), refuse: (reason) => { refuseUpgrade(socket, reason) }
      })
    })
  }
  // An expectation that we do not know may be ignored (RFC 9110 §10.1.1); Node would answer a bare 417.
  server.on('checkExpectation', (request, response) => { server.emit('request', request, response) })

  let closed: Promise<void> | undefined
  /** For each socket, how many requests wait behind another one. */
  const pipelined = new WeakMap<Socket, number>()

  function serve (request: IncomingMessage, response: ServerResponse): void {
    // Node gives a response its socket when it is its turn.
    if (response.socket === null && !queue(request, response)) return
    // RFC 9112 §3.2: HTTP/1.1 without Host, and any request with two, must be refused.
    if (countHosts(request) !== 1 &&
      (request.httpVersion === '1.1' || request.headers.host !== undefined)) refuseRequest(response)
    else handler(request, response)
  }

  /** @returns false when there are too many, and the socket is closed */
  function queue ({ socket }: IncomingMessage, response: ServerResponse): boolean {
    const waiting = (pipelined.get(socket) ?? 0) + 1
    if (waiting >= HTTP_LIMITS.pipelinedRequestsMax) {
      ignoreRest(socket)
      socket.destroy()
      return false
    }
    pipelined.set(socket, waiting)
    noteOwed(socket, response)
    response.once('socket', () => { pipelined.set(socket, (pipelined.get(socket) ?? 1) - 1) })
    return true
  }

  async function listen (host: string, port: number) {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host, port, backlog: HTTP_LIMITS.backlogMax }, () => {
        server.off('error', reject)
        resolve()
      })
    })
    const { address, port: boundPort } = server.address() as AddressInfo
    return { address, port: boundPort }
  }

  function stopListening (): void {
    if (closed !== undefined || !server.listening) return
    server.prependListener('request', (_request: IncomingMessage, response: ServerResponse) => {
      response.shouldKeepAlive = false
    })
    closed = new Promise((resolve) => server.close(() => { resolve() }))
  }

  function sweep (): void {
    server.closeIdleConnections()
    sockets.sweep()
  }

  async function close (timeoutMs: number): Promise<void> {
    stopListening()
    sweep()
    const sweeping = setInterval(sweep, HTTP_LIMITS.stopSweepIntervalMs)
    const deadline = setTimeout(() => { sockets.destroy() }, timeoutMs)
    try {
      await closed
    } finally {
      clearInterval(sweeping)
      clearTimeout(deadline)
    }
  }

  return { server, listen, stopListening, close }
}

/** Node keeps the first of several Host headers, and a proxy may have kept the last. */
function countHosts ({ rawHeaders }: IncomingMessage): number {
  let hosts = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!
    if (name.length === 4 && name.toLowerCase() === 'host') hosts++
  }
  return hosts
}

/**
 * Node parses all that it has read, even after the socket was destroyed, and aborts each request in it with an error
 * that collects a stack: 1,000 pipelined requests took 20 ms. Only another callback of its parser prevents that
 * (node:_http_server, parserOnIncoming).
 */
function ignoreRest (socket: Socket): void {
  const { parser } = socket as { parser?: { onIncoming?: unknown } | null }
  if (parser?.onIncoming !== undefined) parser.onIncoming = () => 0
}
