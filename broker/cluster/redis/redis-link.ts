/**
 * One connection to Redis.
 *
 * ioredis connects again by itself, and does nothing else by itself here: no command waits for a connection, and none is
 * sent twice. A command that does not settle in time cuts the connection: Redis may be frozen, or the network cut
 * without a reset, and a blocking read would otherwise wait for ever (redis/ioredis#1285, taskforcesh/bullmq#4484).
 */
import { Redis, ReplyError } from 'ioredis'
import type { Logger } from 'pino'

export type Argument = string | number | Buffer

/** What Redis answers; texts are buffers. An error stands for a command of a pipeline that Redis refused. */
export type Reply = Buffer | number | null | Error | Reply[]

interface RedisLinkOptions {
  /** `redis://` or `rediss://`, with user and password. Never logged. */
  readonly url: string
  /** Name of this connection in `CLIENT LIST`. */
  readonly name: string
  readonly commandTimeoutMs: number
  readonly connectTimeoutMs: number
  readonly onUp: () => void
  readonly onDown: () => void
  readonly logger: Logger
}

const RETRY_MS_MIN = 50
const RETRY_MS_MAX = 1000
const WATCH_INTERVAL_MS = 250
/** Redis is full, cannot write to its disk, is a replica, or has too few of them. */
const REFUSAL = /\b(OOM|MISCONF|READONLY|NOREPLICAS)\b/
const REFUSAL_TOLD_MS = 5000

/** See the top of this file. */
export class RedisLink {
  readonly #redis: Redis
  readonly #options: RedisLinkOptions
  #isUp = false
  #isClosed = false
  #attemptAtMs = 0
  #watchdog: NodeJS.Timeout | null = null
  #refusal: { readonly message: string, readonly atMs: number } | null = null
  /** Commands that did not settle in time. */
  timeouts = 0

  constructor (options: RedisLinkOptions) {
    this.#options = options
    this.#redis = new Redis(options.url, {
      lazyConnect: true,
      connectionName: options.name,
      connectTimeout: options.connectTimeoutMs,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      retryStrategy: (attempt) => Math.min(RETRY_MS_MIN * 2 ** Math.min(attempt, 10), RETRY_MS_MAX)
    })
    this.#redis.on('connecting', () => { this.#attemptAtMs = performance.now() })
    this.#redis.on('ready', () => { this.#setUp(true) })
    this.#redis.on('close', () => { this.#setUp(false) })
    // Each failed attempt emits one. Only the state of the link matters to others.
    this.#redis.on('error', ({ message }) => { options.logger.debug({ reason: message }, 'connection to Redis failed') })
  }

  get isUp (): boolean {
    return this.#isUp
  }

  /** Why Redis has refused a write in the last seconds; `null`: it has not. */
  get refusal (): string | null {
    const refusal = this.#refusal
    return refusal === null || performance.now() - refusal.atMs > REFUSAL_TOLD_MS ? null : refusal.message
  }

  start (): void {
    this.#attemptAtMs = performance.now()
    this.#redis.connect().catch(ignore)
    this.#watchdog = setInterval(() => { this.#watch() }, WATCH_INTERVAL_MS).unref()
  }

  /** @throws when Redis refuses the command, does not answer in time, or there is no connection */
  async call (name: string, ...args: Argument[]): Promise<Reply> {
    return await this.#settle(this.#redis.callBuffer(name, ...args) as Promise<Reply>)
  }

  /** Sends commands in one write. @throws when Redis does not answer all of them in time: it may have carried out any of them */
  async pipeline (commands: ReadonlyArray<readonly [name: string, ...args: Argument[]]>): Promise<Reply[]> {
    const pipeline = this.#redis.pipeline()
    for (const [name, ...args] of commands) pipeline.callBuffer(name, ...args)
    const replies = await this.#settle(pipeline.exec())
    if (replies === null) throw new Error('Redis answered nothing')
    // ioredis answers so for each command when the connection is lost on the way.
    const lost = replies.find(([error]) => error !== null && !(error instanceof ReplyError))?.[0]
    if (lost != null) throw toBareError(lost)
    return replies.map(([error, reply]) => error === null ? reply as Reply : this.#note(toBareError(error)))
  }

  /** Cuts the connection, and makes a new one. */
  cut (): void {
    this.#setUp(false)
    this.#redis.disconnect(true)
  }

  close (): void {
    this.#isClosed = true
    this.#isUp = false
    if (this.#watchdog !== null) clearInterval(this.#watchdog)
    this.#redis.disconnect()
  }

  async #settle<T> (command: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const timeOut = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        this.timeouts++
        reject(new Error(`Redis did not answer within ${this.#options.commandTimeoutMs} ms`))
        this.cut()
      }, this.#options.commandTimeoutMs)
    })
    try {
      return await Promise.race([command, timeOut])
    } catch (error) {
      throw this.#note(toBareError(error as Error))
    } finally {
      clearTimeout(timer)
      // A command that was given up may still reject.
      command.catch(ignore)
    }
  }

  #note (error: Error): Error {
    if (REFUSAL.test(error.message)) this.#refusal = { message: error.message, atMs: performance.now() }
    return error
  }

  /** ioredis bounds the connection of the socket, and neither AUTH nor the check whether Redis is ready. */
  #watch (): void {
    const { status } = this.#redis
    if (status === 'ready' || performance.now() - this.#attemptAtMs < this.#options.connectTimeoutMs) return
    this.#attemptAtMs = performance.now()
    if (status !== 'reconnecting') this.#redis.disconnect(true)
  }

  #setUp (isUp: boolean): void {
    if (this.#isUp === isUp || this.#isClosed) return
    this.#isUp = isUp
    if (isUp) this.#options.onUp()
    else this.#options.onDown()
  }
}

/** ioredis attaches the command with its arguments to an error. They hold payloads, which must not be logged. */
function toBareError ({ message }: Error): Error {
  return new Error(message)
}

function ignore (): void {}
