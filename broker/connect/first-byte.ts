import type { Duplex } from 'node:stream'
import type { Origin } from '../listen/origin.ts'

interface NewcomersOptions {
  /** How long one may say nothing. */
  readonly timeoutMs: number
  /** Speaks MQTT with it; its first bytes can be read. */
  readonly serve: (stream: Duplex, origin: Origin) => void
  readonly onTimeout: () => void
}

/**
 * Connections that have said nothing yet. What speaks MQTT with one, Aedes' client with its parser and listeners, is made once its first byte is
 * there, so that a port scan, a health check of a load balancer or a flood costs a socket each, and not fifteen kilobytes more.
 */
export class Newcomers {
  readonly #options: NewcomersOptions
  readonly #silent = new Set<Duplex>()

  constructor (options: NewcomersOptions) {
    this.#options = options
  }

  /** Takes a connection that nobody has read from. */
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
      // The end of a stream is told in the same way.
      if (stream.readableLength === 0) stream.destroy()
      else serve(stream, origin)
    }
    this.#silent.add(stream)
    stream.on('error', ignore).on('close', leave).on('readable', onReadable)
  }

  /** Closes them. */
  stop (): void {
    for (const stream of this.#silent) stream.destroy()
  }
}

function ignore (): void {}
