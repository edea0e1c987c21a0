/**
 * Makes rows of the copy equal to PostgreSQL's, read under the locks of the rows. It is needed wherever a batch may
 * have been committed without reaching the copy: its gateway was killed, its answer never came, Redis took too long.
 */
import type { Logger } from 'pino'
import { type LockedRows, lockCopiedRows, selectBusyBackends, type VersionedRow } from '../../../db/queries/copied-rows.ts'
import type { Reply } from '../../../broker/cluster/redis/redis-link.ts'
import type { ReadBudget } from '../read-budget.ts'
import type { CacheLimits } from './limits.ts'
import type { ScriptedLink } from './scripted-link.ts'
import { KEYS } from './scripts.ts'

interface RepairsOptions {
  readonly link: Pick<ScriptedLink, 'isReady' | 'run' | 'call'>
  readonly budget: Pick<ReadBudget, 'background'>
  readonly limits: Pick<CacheLimits, 'repairMax' | 'repairIntervalMs' | 'repairIntervalMaxMs' | 'repairRest' | 'dirtyMax' | 'undecidedMax'>
  readonly logger: Logger
}

/** An intent as Redis keeps it. */
interface Intent {
  readonly id: string
  readonly pid: number
  readonly devices: readonly string[]
}

export class Repairs {
  readonly #options: RepairsOptions
  /** Devices that this gateway has to read again. */
  readonly #dirty = new Set<string>()
  /** Batches of this gateway that may still be under way in PostgreSQL. */
  readonly #undecided = new Map<string, Intent>()
  /** How many dirty devices are being read now. */
  #reading = 0
  #gateway = ''
  #isLost = false
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> | null = null
  /** Of the last round. */
  #tookMs = 0
  /** Rounds that failed one after the other. */
  #failures = 0
  #isStopped = false
  /** Devices that were read again. */
  repaired = 0

  constructor (options: RepairsOptions) {
    this.#options = options
  }

  /** Devices that may differ in Redis. */
  get dirty (): number {
    return this.#dirty.size + this.#reading + this.#undecided.size
  }

  /** Whether an intent of this gateway will be dealt with here. */
  has (intent: string): boolean {
    return this.#undecided.has(intent)
  }

  /** There were too many of them to keep, so the copy as a whole cannot be relied on. */
  get isLost (): boolean {
    return this.#isLost
  }

  /** Notes devices that may differ in Redis. */
  add (devices: readonly string[]): void {
    for (const device of devices) this.#dirty.add(device)
    if (this.#dirty.size > this.#options.limits.dirtyMax) {
      this.#dirty.clear()
      this.#isLost = true
    }
    this.#wake()
  }

  /** A batch of this gateway whose outcome is unknown: its devices are read once the server's process is done. */
  addUndecided (gateway: string, intent: Intent): void {
    this.#gateway = gateway
    this.#undecided.set(intent.id, intent)
    if (this.#undecided.size > this.#options.limits.undecidedMax) {
      this.#undecided.clear()
      this.#isLost = true
    }
    this.add(intent.devices)
  }

  /** Called when the copy is going to be read again as a whole. */
  forgive (): void {
    this.#isLost = false
  }

  /** Settles when nothing is under way. */
  async stop (): Promise<void> {
    this.#isStopped = true
    clearTimeout(this.#timer)
    await this.#running
  }

  /**
   * Deals with intents of a gateway that does not do so itself.
   * @param ids - of that gateway
   * @returns whether all of them are dealt with
   */
  async takeOver (gateway: string, ids: readonly string[]): Promise<boolean> {
    const { link } = this.#options
    const texts = await link.call('HMGET', KEYS.intents, ...ids) as Reply[]
    const intents = texts.flatMap((text, index) => text === null ? [] : [toIntent(ids[index]!, String(text))])
    return await this.#settle(gateway, intents)
  }

  /**
   * Reads devices again.
   * @returns the devices that other transactions were just writing
   * @throws when PostgreSQL or Redis does not answer
   */
  async repair (devices: readonly string[], intents: readonly string[] = []): Promise<readonly string[]> {
    const { link, budget, limits } = this.#options
    const busy: string[] = []
    for (let from = 0; from < devices.length; from += limits.repairMax) {
      const part = devices.slice(from, from + limits.repairMax)
      const found = await budget.background((kysely) => lockCopiedRows(kysely, part))
      await link.run('REPAIR', ...toArguments(found))
      busy.push(...found.busy)
      this.repaired += part.length - found.busy.length
    }
    if (busy.length === 0 && intents.length > 0) await link.call('HDEL', KEYS.intents, ...intents)
    return busy
  }

  async #settle (gateway: string, intents: readonly Intent[]): Promise<boolean> {
    if (intents.length === 0) return true
    const { budget } = this.#options
    const pids = intents.map(({ pid }) => pid)
    const running = await budget.background((kysely) => selectBusyBackends(kysely, gateway, pids))
    const ended = intents.filter(({ pid }) => !running.has(pid))
    const devices = [...new Set(ended.flatMap((intent) => intent.devices))]
    const busy = devices.length === 0 ? [] : await this.repair(devices, ended.map(({ id }) => id))
    if (busy.length > 0) return false
    for (const { id } of ended) this.#undecided.delete(id)
    return ended.length === intents.length
  }

  async #round (): Promise<void> {
    const { link, limits, logger } = this.#options
    if (!link.isReady) return
    try {
      await this.#settle(this.#gateway, [...this.#undecided.values()])
      const part = [...this.#dirty].slice(0, limits.repairMax)
      if (part.length === 0) {
        this.#failures = 0
        return
      }
      // Removed before they are read, because a batch may name them again meanwhile.
      for (const device of part) this.#dirty.delete(device)
      this.#reading = part.length
      let busy: readonly string[] = part
      try {
        busy = await this.repair(part)
        this.#failures = 0
      } finally {
        for (const device of busy) this.#dirty.add(device)
        this.#reading = 0
      }
    } catch (error) {
      this.#failures++
      logger.debug({ err: error }, 'rows of the copy in Redis could not be repaired yet')
    }
  }

  #wake (): void {
    if (this.#timer !== undefined || this.#isStopped) return
    const { repairIntervalMs, repairIntervalMaxMs, repairRest } = this.#options.limits
    const waitMs = Math.max(repairIntervalMs * 2 ** Math.min(this.#failures, 10), this.#tookMs * repairRest)
    this.#timer = setTimeout(() => {
      const beganMs = performance.now()
      this.#running = this.#round().finally(() => {
        this.#tookMs = performance.now() - beganMs
        this.#timer = undefined
        this.#running = null
        if (this.dirty > 0) this.#wake()
      })
    }, Math.min(waitMs, repairIntervalMaxMs)).unref()
  }
}

/** As it is kept in Redis; ids of devices have no control characters. */
export function formatIntent (pid: number, devices: readonly string[]): string {
  return `${pid}\n${devices.join('\n')}`
}

function toIntent (id: string, text: string): Intent {
  const [pid, ...devices] = text.split('\n')
  return { id, pid: Number(pid), devices }
}

/** Arguments of a script for one row: the device, and the row as it is kept. */
export function toRowArguments ({ device, version, time, heart, breath, rest }: VersionedRow): [string, string] {
  return [device, `${version}\n${time}\n${heart}\n${breath}\n${rest}`]
}

function toArguments ({ rows, absent }: LockedRows): Array<string | number> {
  return [
    rows.length, ...rows.flatMap(toRowArguments), absent.length, ...absent.flatMap(({ device, version }) => [device, version])
  ]
}
