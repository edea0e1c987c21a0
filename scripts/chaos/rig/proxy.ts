import { connect, createServer, type Server, type Socket } from 'node:net'
import { FrameScanner } from '../../harness/packet-scanner.ts'

/** What happens to one connection through the proxy. */
export interface Mishap {
  /** Sees each packet of the client before it is passed on; true cuts the connection instead. */
  readonly cutsUp?: (type: number) => boolean
  /** The same for the broker's. */
  readonly cutsDown?: (type: number) => boolean
  /** Whether the broker's bytes are dropped now. */
  readonly dropsDown?: () => boolean
  /** Cuts the connection after that time. */
  readonly lastsMs?: number
}

/** Stands between devices and gateway on a port of its own. */
export class Proxy {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  cuts = 0
  droppedBytes = 0

  constructor (targetPort: () => number, toMishap: () => Mishap) {
    this.#server = createServer((client) => this.#carry(client, targetPort(), toMishap()))
  }

  async listen (): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(0, '127.0.0.1', resolve)
    })
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('the proxy has no port')
    return address.port
  }

  /** Cuts what is connected now. */
  cutAll (): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  close (): void {
    this.#server.close()
    this.cutAll()
  }

  #carry (client: Socket, port: number, mishap: Mishap): void {
    const broker = connect({ host: '127.0.0.1', port, noDelay: true })
    for (const [socket, other] of [[client, broker], [broker, client]] as const) {
      this.#sockets.add(socket)
      socket.on('error', () => { /* `close` follows. */ })
      socket.on('close', () => {
        this.#sockets.delete(socket)
        other.destroy()
      })
    }
    if (mishap.lastsMs !== undefined) {
      const timer = setTimeout(() => client.destroy(), mishap.lastsMs)
      client.once('close', () => clearTimeout(timer))
    }
    const pass = (from: Socket, to: Socket, cuts: Mishap['cutsUp'], drops: (() => boolean) | undefined) => {
      const scanner = new FrameScanner()
      from.on('data', (chunk: Buffer) => {
        let isCut = false
        if (cuts !== undefined) scanner.scan(chunk, chunk.length, (type) => { isCut ||= cuts(type) })
        if (isCut) {
          this.cuts++
          from.destroy()
        } else if (drops?.() === true) {
          this.droppedBytes += chunk.length
        } else {
          to.write(chunk)
        }
      })
    }
    pass(client, broker, mishap.cutsUp, undefined)
    pass(broker, client, mishap.cutsDown, mishap.dropsDown)
  }
}
