import { createHash } from 'node:crypto'
import type { Logger } from 'pino'
import { type Argument, RedisLink, type Reply } from '../../../broker/cluster/redis/redis-link.ts'
import { readFacts } from '../../../broker/cluster/redis/redis-facts.ts'
import type { CacheLimits } from './limits.ts'
import { APPLY, BEAT, COMPARE, COMPLETE, DOUBT, EMPTY, INTEND, LEAVE, PAGE, REPAIR } from './scripts.ts'

const SCRIPTS = { APPLY, BEAT, COMPARE, COMPLETE, DOUBT, EMPTY, INTEND, LEAVE, PAGE, REPAIR }
/** The name by which a script is called. */
export type ScriptName = keyof typeof SCRIPTS

const DIGESTS = Object.fromEntries(Object.entries(SCRIPTS).map(([name, text]) =>
  [name, createHash('sha1').update(text).digest('hex')])) as Record<ScriptName, string>

interface ScriptedLinkOptions {
  readonly url: string
  /** Of this process. */
  readonly name: string
  /** Purpose of the connection; it follows the name in `CLIENT LIST`. */
  readonly purpose: 'latest' | 'pages'
  readonly limits: Pick<CacheLimits, 'commandTimeoutMs' | 'connectTimeoutMs'>
  readonly logger: Logger
}

/** A connection to Redis on which the scripts of the copy are known. */
export class ScriptedLink {
  readonly #link: RedisLink
  readonly #logger: Logger
  readonly #purpose: ScriptedLinkOptions['purpose']
  #runId: string | null = null
  #isReady = false
  #changedAtMs = performance.now()

  constructor ({ url, name, purpose, limits, logger }: ScriptedLinkOptions) {
    this.#logger = logger
    this.#purpose = purpose
    this.#link = new RedisLink({
      url,
      name: `${name.replaceAll(/[^\w.-]/g, '-')}-${purpose}`,
      ...limits,
      onUp: () => { this.#prepare().catch(() => { this.#link.cut() }) },
      onDown: () => { this.#setReady(false) },
      logger
    })
  }

  /** Commands can be sent. */
  get isReady (): boolean {
    return this.#isReady
  }

  /** Identifies the process of Redis: after a restart it may have lost its last writes. */
  get runId (): string | null {
    return this.#runId
  }

  /** Milliseconds since it came up, or went down. */
  get ageMs (): number {
    return performance.now() - this.#changedAtMs
  }

  start (): void {
    this.#link.start()
  }

  close (): void {
    this.#isReady = false
    this.#link.close()
  }

  /** @throws when Redis refuses, or does not answer in time */
  async call (name: string, ...args: Argument[]): Promise<Reply> {
    return await this.#link.call(name, ...args)
  }

  /** Runs a script. @throws as {@link call} */
  async run (script: ScriptName, ...args: Argument[]): Promise<Reply> {
    try {
      return await this.#link.call('EVALSHA', DIGESTS[script], 0, ...args)
    } catch (error) {
      this.#relearn(error)
      throw error
    }
  }

  /** Connects again where the cache of scripts was emptied (SCRIPT FLUSH). */
  #relearn (error: unknown): void {
    if (error instanceof Error && error.message.startsWith('NOSCRIPT')) this.#link.cut()
  }

  async #prepare (): Promise<void> {
    const loaded = await this.#link.pipeline(Object.values(SCRIPTS).map((text) => ['SCRIPT', 'LOAD', text] as const))
    for (const reply of loaded) if (reply instanceof Error) throw reply
    this.#runId = (await readFacts(this.#link)).runId
    this.#setReady(true)
  }

  #setReady (isReady: boolean): void {
    if (this.#isReady === isReady) return
    this.#isReady = isReady
    this.#changedAtMs = performance.now()
    // Logged once for both connections.
    if (this.#purpose === 'pages') return
    if (isReady) this.#logger.info('latest states are copied to Redis')
    else this.#logger.warn('Redis does not answer: pages of the latest states come from PostgreSQL')
  }
}
