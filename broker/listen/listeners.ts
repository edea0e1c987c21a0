import type { ServerTls } from './tls-handshakes.ts'
import { createTcpListener, type ListenerCounts, type ListenerOptions } from './tcp-listener.ts'

/** Address of the listener for MQTT inside TLS. */
export interface TlsBinding {
  readonly host: string
  /** 0 picks a free port. */
  readonly port: number
  readonly tls: ServerTls
}

interface ListenersOptions extends Omit<ListenerOptions, 'tls'> {
  readonly secure?: TlsBinding | undefined
}

/** The broker's own listeners, plain and TLS, as one. */
export function createListeners ({ secure, ...plain }: ListenersOptions) {
  const plainListener = createTcpListener(plain)
  const secureListener = secure === undefined ? null : createTcpListener({ ...plain, ...secure })
  const listeners = secureListener === null ? [plainListener] : [plainListener, secureListener]

  async function stop (): Promise<void> {
    await Promise.all(listeners.map((listener) => listener.stop()))
  }

  return {
    /** Starts all, or none. @throws what `listen` failed with, such as `EADDRINUSE` */
    async start (): Promise<{ address: string, port: number, securePort: number | null }> {
      try {
        const bound = await plainListener.start()
        const secureBound = await secureListener?.start()
        return { ...bound, securePort: secureBound?.port ?? null }
      } catch (error) {
        await stop()
        throw error
      }
    },
    /** @returns settles once no new connection can come in */
    stop,
    /** Of all listeners together. */
    get counts (): ListenerCounts {
      const sum = (pick: (counts: ListenerCounts) => number) =>
        listeners.reduce((total, { counts }) => total + pick(counts), 0)
      return {
        refused: sum(({ refused }) => refused),
        handshakesRefused: sum(({ handshakesRefused }) => handshakesRefused),
        handshakesFailed: sum(({ handshakesFailed }) => handshakesFailed),
        proxyHeadersRefused: sum(({ proxyHeadersRefused }) => proxyHeadersRefused)
      }
    }
  }
}
