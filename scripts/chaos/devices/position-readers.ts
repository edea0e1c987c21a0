/**
 * Applications that read what they have just stored, and others that read the same devices (C10).
 *
 *   POST through HAProxy ──> 202, Vital-Position ──> GETs that send it back, at any gateway: that reading, or a newer one
 *                                  │
 *                                  └── GETs without it ──> the newest reading that was stored long enough before
 *
 * A device sends one reading after the other, each with its number and a later time, so the newest one tells how old an
 * answer is.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from '../../harness/random.ts'

const PAIRS = 4
/** README of `src/reads`: 5 s. The gateway asks each half second where the log ends, and later on a busy machine. */
const STALE_MAX_MS = 7000
/** 2 s for a turn, then a query that times out at a replica, and one at the primary. */
const ANSWER_MS_MAX = 10_000
const TIMEOUT_MS = 30_000
const REST_MIN_MS = 20
const REST_MAX_MS = 150
const RETRY_MIN_MS = 100
const RETRY_MAX_MS = 400

/** One GET, and what was owed to it. */
export interface PositionRead {
  readonly path: string
  /** Of a 202; `null`: none was sent along. */
  readonly position: string | null
  /** The least number of a reading that it must show; 0: none is owed. */
  readonly owed: number
  /** `null`: there was no whole answer. */
  readonly status: number | null
  readonly hasRetryAfter: boolean
  /** Number of the newest reading in it; 0: it has none. */
  readonly newest: number
  readonly tookMs: number
  /** No gateway, nor anything else that reads of the primary need, was struck meanwhile. */
  readonly isCalm: boolean
}

/** @returns what is wrong, or `null` */
export function judgeRead ({ path, position, owed, status, hasRetryAfter, newest, tookMs, isCalm }: PositionRead): string | null {
  const what = `GET ${path} ${position === null ? 'without a position' : `with ${position}`}`
  if (status === null) return isCalm ? `${what} was not answered within ${Math.round(tookMs)} ms` : null
  if (status === 503) {
    if (!hasRetryAfter) return `${what} was answered 503 without Retry-After`
  } else if (status !== 200 && status !== 404) return `${what} was answered ${status}`
  else if (newest < owed) return `${what} shows reading ${newest}, and ${owed} was acknowledged`
  return isCalm && tookMs > ANSWER_MS_MAX ? `${what} took ${Math.round(tookMs)} ms` : null
}

interface PositionReadersOptions {
  /** Of HAProxy. */
  readonly postPort: number
  readonly gatewayPorts: readonly number[]
  /** `performance.now()` since when nothing but the replica was struck; infinite while something is. */
  readonly calmSinceMs: () => number
  readonly random: Random
  readonly onViolation: (message: string) => void
}

/** A device, and what is known of its readings. */
interface Book {
  readonly device: string
  last: number
  /** Those that PostgreSQL has, the newest last. */
  readonly stored: Array<{ readonly number: number, readonly atMs: number }>
}

export function createPositionReaders (options: PositionReadersOptions) {
  const { postPort, gatewayPorts, calmSinceMs, random, onViolation } = options
  const figures = { readsWithPosition: 0, readsWithout: 0, readsRefused: 0, readsUnanswered: 0, postsWithoutPosition: 0, slowestReadMs: 0 }
  const books: Book[] = Array.from({ length: PAIRS }, (_, index) => ({ device: `asker-${index}`, last: 0, stored: [] }))

  /** Sends a reading until it is acknowledged. @returns `Vital-Position` of the 202; `undefined`: it was not acknowledged before the end */
  async function post ({ device, last }: Book, ending: AbortSignal): Promise<string | null | undefined> {
    // A clock that cannot be set back: the newest reading must be the last one.
    const timestamp = (performance.timeOrigin + performance.now()) / 1000
    const body = JSON.stringify({ device, timestamp, heartRateValue: 60 + last % 60, number: last })
    while (!ending.aborted) {
      const response = await ask(`http://127.0.0.1:${postPort}/vital-data`, {
        method: 'POST', headers: { 'content-type': 'application/json' }, body
      })
      if (response?.status === 202) return response.headers.get('vital-position')
      await sleep(random.between(RETRY_MIN_MS, RETRY_MAX_MS))
    }
    return undefined
  }

  /** @param toOwed - once it is answered, for a strike may have come meanwhile */
  async function get (path: string, position: string | null, toOwed: (askedAtMs: number) => number): Promise<void> {
    const port = random.pick(gatewayPorts)
    const askedAtMs = performance.now()
    const response = await ask(`http://127.0.0.1:${port}${path}`, position === null ? {} : { headers: { 'vital-position': position } })
    const read: PositionRead = {
      path,
      position,
      owed: toOwed(askedAtMs),
      status: response?.status ?? null,
      hasRetryAfter: response?.headers.has('retry-after') ?? false,
      newest: response?.status === 200 ? toNumber(response.text) : 0,
      tookMs: performance.now() - askedAtMs,
      isCalm: calmSinceMs() <= askedAtMs
    }
    if (read.status === null) figures.readsUnanswered++
    else if (read.status === 503) figures.readsRefused++
    else if (position === null) figures.readsWithout++
    else figures.readsWithPosition++
    if (read.isCalm) figures.slowestReadMs = Math.max(figures.slowestReadMs, Math.round(read.tookMs))
    const wrong = judgeRead(read)
    if (wrong !== null) onViolation(wrong)
  }

  async function storeAndRead (book: Book, ending: AbortSignal): Promise<void> {
    const { device, stored } = book
    while (!ending.aborted) {
      const number = ++book.last
      const position = await post(book, ending)
      if (position === undefined) return
      if (position === null) figures.postsWithoutPosition++
      else {
        stored.push({ number, atMs: performance.now() })
        const page = `/vital-data?sortBy=deviceId&count=1&prefix=${device}`
        for (const path of [`/vital-data/${device}`, `/vital-data/${device}/history?count=1`, page]) await get(path, position, () => number)
      }
      await sleep(random.between(REST_MIN_MS, REST_MAX_MS))
    }
  }

  async function readOn ({ device, stored }: Book, ending: AbortSignal): Promise<void> {
    const toOwed = (askedAtMs: number) => {
      const index = stored.findLastIndex(({ atMs }) => atMs <= askedAtMs - STALE_MAX_MS && atMs >= calmSinceMs())
      if (index === -1) return 0
      stored.splice(0, index)
      return stored[0]!.number
    }
    for (let turn = 0; !ending.aborted; turn++) {
      await get(`/vital-data/${device}${turn % 2 === 0 ? '' : '/history?count=1'}`, null, toOwed)
      await sleep(random.between(REST_MIN_MS, REST_MAX_MS))
    }
  }

  return {
    figures,
    /** Settles when nothing is under way any more. */
    async run (ending: AbortSignal): Promise<void> {
      await Promise.all(books.flatMap((book) => [storeAndRead(book, ending), readOn(book, ending)]))
    }
  }
}

interface Answer extends Pick<Response, 'status' | 'headers'> {
  readonly text: string
}

/** @returns `null` without a whole answer */
async function ask (url: string, init: RequestInit): Promise<Answer | null> {
  try {
    const response = await fetch(url, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) })
    const { status, headers } = response
    return { status, headers, text: await response.text() }
  } catch {
    return null
  }
}

interface Shown {
  readonly vitals?: { readonly number?: number }
}

/** Of the newest reading of a device, its history, or a page of one device; 0: there is none. */
function toNumber (text: string): number {
  const body = JSON.parse(text) as Shown & { readonly resources?: readonly Shown[] }
  return (body.resources?.[0] ?? body).vitals?.number ?? 0
}
