/** Applications that ask for pages as fast as they get them, and the answers that they get. */
import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { secretOf } from '../../harness/devices/identities.ts'
import type { Random } from '../../harness/random.ts'

/** Longer than the gateway lets a reader wait, with room for a large page on a busy machine. */
const ANSWER_TIMEOUT_MS = 60_000
/** After an answer other than 200, and after a lost connection: a gateway that refuses at once is not asked in a loop. */
const RETRY_MIN_MS = 100
const RETRY_MAX_MS = 400

/** Pages in every order, and the fattest first. */
const PAGES = [
  '/vital-data?count=100&sortBy=deviceId', '/vital-data?count=100', '/vital-data?count=100&sortBy=heartRate&orderBy=asc'
] as const

/** Principal of the readers where HTTP needs credentials. */
export const READER_ID = 'chaos-reader'

export interface ReaderFigures {
  answered: number
  /** 503, with `Retry-After`. */
  refused: number
  /** Any other answer, and answers that broke off. */
  readonly others: Map<string, number>
  slowestMs: number
  bytes: number
}

interface ReadersOptions {
  /** `null` where HTTP needs no credentials. */
  readonly secret?: string | null
  readonly port: () => number
  readonly count: number
  /** Reader `n` asks for path `n` modulo their number. */
  readonly paths: readonly string[]
  readonly random: Random
}

/** Asks from the first moment on. @returns figures, and `stop`, which settles when no request is under way */
export function startReaders ({ port, count, paths, random, secret = null }: ReadersOptions) {
  const agent = new Agent({ keepAlive: true, maxSockets: count })
  const figures: ReaderFigures = { answered: 0, refused: 0, others: new Map(), slowestMs: 0, bytes: 0 }
  const ending = new AbortController()

  async function readOn (path: string): Promise<void> {
    while (!ending.signal.aborted) {
      const askedAtMs = performance.now()
      const outcome = await get({ agent, port: port(), path, secret, onBytes: (bytes) => { figures.bytes += bytes } })
      if (ending.signal.aborted) return
      figures.slowestMs = Math.max(figures.slowestMs, Math.round(performance.now() - askedAtMs))
      if (outcome === '200') {
        figures.answered++
        continue
      }
      if (outcome === '503') figures.refused++
      else figures.others.set(outcome, (figures.others.get(outcome) ?? 0) + 1)
      await sleep(random.between(RETRY_MIN_MS, RETRY_MAX_MS))
    }
  }

  const readers = Promise.all(Array.from({ length: count }, (_, index) => readOn(paths[index % paths.length]!)))
  return {
    figures,
    async stop (): Promise<void> {
      ending.abort()
      agent.destroy()
      await readers
    }
  }
}

/** @returns the status, or what went wrong */
function get (
  asking: { agent: Agent, port: number, path: string, secret: string | null, onBytes: (bytes: number) => void }
): Promise<string> {
  const { agent, port, path, secret, onBytes } = asking
  const headers = secret === null ? {} : { authorization: `Bearer ${secret}` }
  return new Promise((resolve) => {
    const asked = request({ agent, host: '127.0.0.1', port, path, headers, timeout: ANSWER_TIMEOUT_MS }, (response) => {
      const { statusCode } = response
      const isBare503 = statusCode === 503 && response.headers['retry-after'] === undefined
      response.on('data', (chunk: Buffer) => { onBytes(chunk.length) })
      response.on('error', () => { resolve(`${statusCode}, broken off`) })
      response.on('end', () => { resolve(isBare503 ? '503 without Retry-After' : String(statusCode)) })
    })
    asked.on('timeout', () => { asked.destroy(Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' })) })
    asked.on('error', (error: NodeJS.ErrnoException) => { resolve(error.code ?? error.message) })
    asked.end()
  })
}

/** The parts of a rig that its readers need. */
interface ReadRig {
  readonly httpPort: number
  readonly options: { readonly random: Random, readonly load: { readonly isIdentified: boolean } }
  readonly watch: { otherConnections: number }
  readonly count: (name: string, count: number) => void
  readonly violate: (checker: 'expected', message: string) => void
}

/**
 * Readers of pages beside the devices of any fault. Connections may be lost with the gateway. An answer of another
 * status is a violation, whatever happens to the gateway.
 */
export function readBeside (rig: ReadRig, count: number) {
  let readers: ReturnType<typeof startReaders> | null = null
  return {
    start (): void {
      if (count === 0) return
      const secret = rig.options.load.isIdentified ? secretOf(READER_ID) : null
      rig.watch.otherConnections += 2 * count
      readers = startReaders({ port: () => rig.httpPort, count, paths: PAGES, random: rig.options.random, secret })
    },

    async stop (): Promise<void> {
      if (readers === null) return
      const { figures } = readers
      await readers.stop()
      readers = null
      rig.watch.otherConnections -= 2 * count
      rig.count('readsAnswered', figures.answered)
      rig.count('readsRefused', figures.refused)
      for (const [outcome, times] of figures.others) {
        if (/^\d+/.test(outcome) && !outcome.endsWith('broken off')) {
          rig.violate('expected',
          `readers were answered ${outcome}, ${times} times`)
        }
      }
    }
  }
}
