import type { Violation } from '../../harness/checks/stored.ts'
import type { GatewayProcess } from '../../harness/gateway-process.ts'
import { scrape } from '../../harness/checks/metrics.ts'

const SAMPLE_INTERVAL_MS = 250
const SCRAPE_EVERY = 4

/** Twice what a gateway at its default bounds was seen to use; a leak passes it, load does not. */
const RSS_BYTES_MAX = 768 * 1024 * 1024
/** `VITAL_BUFFER_BYTES_MAX` by default, and one socket buffer of each client as overshoot. */
const BUFFER_BYTES_MAX = 64 * 1024 * 1024
const SOCKET_BUFFER_BYTES = 64 * 1024
/** Files of Node itself, the pool of the database, spool segments, listeners. */
const DESCRIPTORS_BESIDE = 100

type Watched = Pick<GatewayProcess, 'isGone' | 'isEnding' | 'peakRssBytes' | 'peakDescriptors' | 'sample' | 'logged'>

export interface WatchOptions {
  readonly gateway: () => Watched | null
  readonly httpPort: () => number
  /** Cap of resident memory; that of a gateway by default. */
  readonly rssBytesMax?: number | undefined
  /** Connections of the devices. */
  readonly connections: number
  readonly onViolation: (violation: Violation) => void
}

/** C5 and C7 while it runs: memory, descriptors, buffer and balance, four times and once a second. */
export class Watch {
  readonly #options: WatchOptions
  readonly #timer: NodeJS.Timeout
  #ticks = 0
  readonly #told = new Set<string>()
  peakRssBytes = 0
  peakDescriptors = 0
  scrapes = 0
  /** Connections beside those of the devices. */
  otherConnections = 0

  constructor (options: WatchOptions) {
    this.#options = options
    this.#timer = setInterval(() => this.#tick(), SAMPLE_INTERVAL_MS)
  }

  /** An unexpected end of the process is a violation. */
  started (gateway: GatewayProcess): void {
    gateway.exited.then(({ code, signal }) => {
      if (!gateway.isEnding) this.#tell('C6', `the gateway ended unexpectedly (${signal ?? code})`, gateway.tail())
    }, () => {})
  }

  /** The gateway's life is over. */
  ended (): void {
    const gateway = this.#options.gateway()
    if (gateway === null) return
    this.#note(gateway)
    const fatal = gateway.logged().find(({ level }) => (level ?? 0) >= 60)
    if (fatal !== undefined) this.#tell('C6', 'the gateway logged a bug', JSON.stringify(fatal))
  }

  stop (): void {
    clearInterval(this.#timer)
  }

  #tick (): void {
    const gateway = this.#options.gateway()
    if (gateway === null || gateway.isGone || gateway.isEnding) return
    gateway.sample()
    this.#note(gateway)
    if (this.#ticks++ % SCRAPE_EVERY === 0) this.#scrape().catch(() => { /* Other checks see a hang. */ })
  }

  async #scrape (): Promise<void> {
    const { httpPort, connections } = this.#options
    const seen = await scrape(httpPort())
    this.scrapes++
    if (seen.balance !== 0) this.#tell('C7', 'the ledger did not balance in a scrape', JSON.stringify(seen))
    if (seen.bufferBytes > BUFFER_BYTES_MAX + connections * SOCKET_BUFFER_BYTES) {
      this.#tell('C5', 'the buffer is over its bound', `${seen.bufferBytes} bytes`)
    }
  }

  #note (gateway: Watched): void {
    this.peakRssBytes = Math.max(this.peakRssBytes, gateway.peakRssBytes)
    this.peakDescriptors = Math.max(this.peakDescriptors, gateway.peakDescriptors)
    const { rssBytesMax = RSS_BYTES_MAX } = this.#options
    if (gateway.peakRssBytes > rssBytesMax) this.#tell('C5', 'memory is over its cap', `${gateway.peakRssBytes} bytes resident`)
    const descriptorsMax = this.#options.connections + this.otherConnections + DESCRIPTORS_BESIDE
    if (gateway.peakDescriptors > descriptorsMax) {
      this.#tell('C5', 'too many descriptors',
        `${gateway.peakDescriptors}, for ${this.#options.connections + this.otherConnections} connections`)
    }
  }

  /** Reports each kind once: a cap that is passed stays passed. */
  #tell (checker: Violation['checker'], what: string, detail: string): void {
    if (this.#told.has(what)) return
    this.#told.add(what)
    this.#options.onViolation({ checker, message: `${what}: ${detail}` })
  }
}
