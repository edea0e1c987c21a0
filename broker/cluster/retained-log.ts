/**
 * Retained messages of all gateways: each keeps all of them.
 *
 * A change is written to a hash and to a stream, in one step of Redis, and every gateway reads the stream, its own
 * changes included. So all gateways and the hash end up with the last change in the stream. A gateway that starts reads
 * the hash, and the stream from there. It does so again when entries were dropped that it has not read. Topics that
 * change while Redis is away are written once it is back: each once, with its message of then.
 */
import type { Logger } from 'pino'
import type { ClusterParts } from '../cluster.ts'
import { ownCopy, ownProperties } from '../session/delivery.ts'
import { RESERVED_PREFIX } from '../topics.ts'
import { decodeFrame, encodeFrame, type MessageHeader, toMessage, toMessageHeader, toUnixMs } from './frame.ts'
import { compareIds } from './inbox.ts'
import { KEYS } from './keys.ts'
import type { Argument, RedisLink, Reply } from './redis/redis-link.ts'
import { RefusedReads } from './redis/refused-reads.ts'
import { EXPIRE_RETAINED, RETAIN } from './scripts.ts'

interface RetainedLogOptions {
  readonly link: Pick<RedisLink, 'isUp' | 'call' | 'pipeline'>
  /** Reads the stream. */
  readonly reader: Pick<RedisLink, 'isUp' | 'call'>
  readonly self: () => string
  readonly parts: () => Pick<ClusterParts, 'retained'>
  readonly blockMs: number
  readonly logger: Logger
}

/** Changes that others may not have read yet; beyond, they read the hash. */
const LOG_ENTRIES_MAX = 10_000
const ENTRIES_AT_ONCE = 256
const SCANNED_AT_ONCE = 500
const TOPICS_AT_ONCE = 100
/** Digits of the Unix milliseconds at which a value expires. */
const EXPIRY_DIGITS = 16
/** Before changes that Redis has refused are written again; doubled each time. */
const PAUSE_MS_MIN = 100
const PAUSE_MS_MAX = 5000
const NEVER = '9'.repeat(EXPIRY_DIGITS)

/** See the top of this file. */
export class RetainedLog {
  readonly #options: RetainedLogOptions
  /** Topics whose change Redis does not have yet; true: the message has expired. */
  readonly #dirty = new Map<string, boolean>()
  #isWriting = false
  #pauseMs = 0
  #pause: NodeJS.Timeout | null = null
  #loop = 0
  readonly #refused: RefusedReads
  #position: string | null = null

  constructor (options: RetainedLogOptions) {
    this.#options = options
    this.#refused = new RefusedReads({ link: options.reader, what: 'the stream of retained messages', logger: options.logger })
  }

  changed (topic: string, isExpired: boolean): void {
    if (topic.startsWith(RESERVED_PREFIX)) return
    this.#dirty.set(topic, isExpired)
    if (!this.#isWriting) setImmediate(() => { this.flush() })
  }

  /** Writes the changes that Redis does not have. */
  flush (): void {
    if (this.#isWriting || this.#pause !== null || !this.#options.link.isUp) return
    this.#isWriting = true
    this.#write()
      .then(() => { this.#pauseMs = 0 })
      .catch((error: unknown) => {
        this.#options.logger.debug({ err: error }, 'retained messages wait for Redis')
        this.#pauseMs = Math.min(Math.max(PAUSE_MS_MIN, this.#pauseMs * 2), PAUSE_MS_MAX)
        this.#pause = setTimeout(() => {
          this.#pause = null
          this.flush()
        }, this.#pauseMs).unref()
      })
      .finally(() => { this.#isWriting = false })
  }

  /** Redis was emptied: it gets all that is kept here. */
  rewrite (): void {
    this.#position = null
    for (const { topic } of this.#options.parts().retained.matching(['#'])) this.changed(topic, false)
  }

  /** Reads what others have kept, and goes on reading. */
  start (): void {
    // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it does not reject
    this.#run(++this.#loop)
  }

  stop (): void {
    this.#loop++
  }

  /** Settles once the hash is read. @throws when Redis does not answer */
  async load (): Promise<void> {
    const { link } = this.#options
    // Before the hash, so that changes made while it is read come again in the stream.
    const newest = await link.call('XREVRANGE', KEYS.retainedLog, '+', '-', 'COUNT', 1) as Reply[][]
    const kept = new Set<string>()
    let cursor = '0'
    do {
      const [next, fields] = await link.call('HSCAN', KEYS.retained, cursor, 'COUNT', SCANNED_AT_ONCE) as [Reply, Reply[]]
      cursor = String(next)
      for (let at = 0; at + 1 < fields.length; at += 2) {
        const topic = String(fields[at])
        kept.add(topic)
        if (!this.#dirty.has(topic)) this.#apply(topic, fields[at + 1] as Buffer)
      }
    } while (cursor !== '0')
    const { retained } = this.#options.parts()
    for (const { topic } of [...retained.matching(['#'])]) {
      if (!kept.has(topic) && !this.#dirty.has(topic)) retained.remove(topic)
    }
    this.#position = newest.length === 0 ? '0-0' : String(newest[0]![0])
  }

  async #write (): Promise<void> {
    const { link, self, parts } = this.#options
    while (this.#dirty.size > 0 && link.isUp) {
      const topics = [...this.#dirty].slice(0, TOPICS_AT_ONCE)
      const commands = topics.map(([topic, isExpired]): [string, ...Argument[]] => {
        const copy = parts().retained.get(topic)
        if (copy === null && isExpired) return ['EVAL', EXPIRE_RETAINED, 0, topic, Date.now()]
        const value = copy === null ? [] : [encodeValue(copy)]
        return ['EVAL', RETAIN, 0, self(), topic, LOG_ENTRIES_MAX, ...value]
      })
      for (const [topic] of topics) this.#dirty.delete(topic)
      let replies: Reply[] = []
      try {
        replies = await link.pipeline(commands)
        const refusal = replies.find((reply) => reply instanceof Error)
        if (refusal !== undefined) throw refusal
      } catch (error) {
        for (const [at, [topic, isExpired]] of topics.entries()) {
          const isWritten = replies[at] !== undefined && !(replies[at] instanceof Error)
          if (!isWritten && !this.#dirty.has(topic)) this.#dirty.set(topic, isExpired)
        }
        throw error
      }
    }
  }

  async #run (loop: number): Promise<void> {
    const { reader, blockMs } = this.#options
    try {
      if (this.#position === null || await this.#isBehind(this.#position)) await this.load()
      while (loop === this.#loop && reader.isUp) {
        const position: string = this.#position ?? '0-0'
        const reply = await reader.call('XREAD', 'COUNT', ENTRIES_AT_ONCE, 'BLOCK', blockMs, 'STREAMS', KEYS.retainedLog, position)
        if (reply === null || loop !== this.#loop) continue
        const [[, entries]] = reply as unknown as [[Buffer, Array<[Buffer, Buffer[]]>]]
        for (const [id, fields] of entries) this.#read(id.toString(), fields)
      }
    } catch (error) {
      // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it does not reject
      this.#refused.retry(error, () => { if (loop === this.#loop) this.#run(loop) })
    }
  }

  /** Whether entries behind a position were dropped, or are those of another Redis. */
  async #isBehind (position: string): Promise<boolean> {
    const { link } = this.#options
    const [first, newest] = await link.pipeline([
      ['XRANGE', KEYS.retainedLog, '-', '+', 'COUNT', 1], ['XREVRANGE', KEYS.retainedLog, '+', '-', 'COUNT', 1]
    ]) as [Reply[][], Reply[][]]
    if (first.length === 0) return position !== '0-0'
    return compareIds(String(first[0]![0]), position) > 0 || compareIds(String(newest[0]![0]), position) < 0
  }

  /** @param fields - `o`, gateway, `t`, topic, `v`, value */
  #read (id: string, fields: readonly Buffer[]): void {
    this.#position = id
    const topic = fields[3]!.toString()
    // A change that is about to be written here is later than the one that is read.
    if (!this.#dirty.has(topic)) this.#apply(topic, fields[5]!)
  }

  #apply (topic: string, value: Buffer): void {
    const { retained } = this.#options.parts()
    if (value.length === 0) {
      retained.remove(topic)
      return
    }
    if (Number(value.toString('latin1', 0, EXPIRY_DIGITS)) <= Date.now()) return
    const { header, bodies } = decodeFrame(value.subarray(EXPIRY_DIGITS))
    const { message: { payload, qos, properties } } = toMessage(header as MessageHeader, bodies, 0)
    retained.put({ topic, payload: ownCopy(payload), qos, properties: ownProperties(properties) })
  }
}

function encodeValue (copy: NonNullable<ReturnType<ClusterParts['retained']['get']>>): Buffer {
  const { header, bodies } = toMessageHeader({ ...copy, retain: true })
  const expiresAtMs = copy.properties?.expiresAtMs ?? Infinity
  const expiry = expiresAtMs === Infinity ? NEVER : String(toUnixMs(expiresAtMs)).padStart(EXPIRY_DIGITS, '0')
  return Buffer.concat([Buffer.from(expiry), encodeFrame(header, bodies)])
}
