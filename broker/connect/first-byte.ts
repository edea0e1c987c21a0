import type { Duplex } from 'node:stream'
import type { Origin } from '../listen/origin.ts'

interface FirstByteOptions {
  /** How long a connection may stay silent: `connectTimeoutMs`. */
  readonly timeoutMs: number
  /** Takes a connection whose first bytes can be read. */
  readonly serve: (stream: Duplex, origin: Origin) => void
  readonly onTimeout: () => void
}

/**
 * Connections until their first byte. Aedes' client, with its parser and listeners, is made after it, so that a port
 * scan, a health check of a load balancer or a flood costs a socket each, and not 15 KiB more.
 */
export class FirstByteWait {
  readonly #options: FirstByteOptions
  readonly #silent = new Set<Duplex>()

  constructor (options: FirstByteOptions) {
    this.#options = options
  }

  /** Takes a connection that has not been read from. */
  readonly receive = (stream: Duplex, origin: Origin): void => {
    const { timeoutMs, serve, onTimeout } = this.#options
    const timer = setTimeout(() => {
      onTimeout()
      stream.destroy()
    }, timeoutMs)
    const leave = () => {
      clearTimeout(timer)
      this.#silent.delete(stream)
      stream.off('readable', onReadable).off('close', leave).off('error', ignore)
    }
    const onReadable = () => {
      leave()
      // `readable` is emitted at the end of a stream, too.
      if (stream.readableLength === 0) stream.destroy()
      else serve(stream, origin)
    }
    this.#silent.add(stream)
    stream.on('error', ignore).on('close', leave).on('readable', onReadable)
  }

  /** Closes all silent connections. */
  stop (): void {
    for (const stream of this.#silent) stream.destroy()
  }
}

function ignore (): void {}
