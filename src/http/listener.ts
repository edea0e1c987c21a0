import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { refuseRequest } from './error-answer.ts'
import { HTTP_LIMITS } from './limits.ts'

export interface Listener {
  readonly server: Server
  /** @returns where it listens, once it does */
  listen (host: string, port: number): Promise<{ address: string, port: number }>
  /** Takes no more connections, closes idle ones, and lets each of the others go after its next answer. */
  stopListening (): void
  /** {@link Listener.stopListening}, then settles once every socket is closed, which it enforces after `timeoutMs`. */
  close (timeoutMs: number): Promise<void>
}

/**
 * The node:http server under Fastify. Ours, so that all its limits stand in one place, and because Fastify's own `close`
 * has no bound: Node counts a socket that never sent a byte as busy, browsers keep such sockets in stock.
 */
export function createListener (handler: (request: IncomingMessage, response: ServerResponse) => void): Listener {
  const sockets = new Set<Socket>()
  const server = createServer({
    keepAliveTimeout: HTTP_LIMITS.keepAliveTimeoutMs,
    requestTimeout: HTTP_LIMITS.requestTimeoutMs,
    headersTimeout: HTTP_LIMITS.headersTimeoutMs,
    connectionsCheckingInterval: HTTP_LIMITS.connectionsCheckingIntervalMs,
    maxHeaderSize: HTTP_LIMITS.headerBytesMax,
    // Node would answer by itself, without a body.
    requireHostHeader: false
  }, (request, response) => {
    // RFC 9112 §3.2: HTTP/1.1 without Host must be refused.
    if (request.headers.host === undefined && request.httpVersion === '1.1') refuseRequest(response)
    else handler(request, response)
  })
  server.setTimeout(HTTP_LIMITS.connectionTimeoutMs)
  server.maxConnections = HTTP_LIMITS.connectionsMax
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  // An expectation that we do not know may be ignored (RFC 9110 §10.1.1); Node would answer a bare 417.
  server.on('checkExpectation', (request, response) => { server.emit('request', request, response) })

  let closed: Promise<void> | undefined

  async function listen (host: string, port: number) {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host, port }, () => {
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
    for (const socket of sockets) {
      if (socket.bytesRead === 0 || socket.writableFinished) socket.destroy()
    }
  }

  async function close (timeoutMs: number): Promise<void> {
    stopListening()
    sweep()
    const sweeping = setInterval(sweep, HTTP_LIMITS.stopSweepIntervalMs)
    const deadline = setTimeout(() => {
      for (const socket of sockets) socket.destroy()
    }, timeoutMs)
    try {
      await closed
    } finally {
      clearInterval(sweeping)
      clearTimeout(deadline)
    }
  }

  return { server, listen, stopListening, close }
}
