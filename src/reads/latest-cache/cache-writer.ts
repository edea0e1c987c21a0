/**
 * Follows the batches of this gateway.
 *
 *   intent ──> Redis ──> COMMIT ──> rows and versions ──> Redis, which drops the intent ──> acknowledgement
 *
 * A gateway that is killed in between leaves its intent, and another one reads the devices again. Redis may take `waitMs`
 * at either place. Where it takes longer the batch goes on; until its rows are in Redis, late or read again, this gateway does
 * not trust the copy.
 */
import type { CopyIntent, LatestCopy } from '../../../db/store.ts'
import type { VersionedRow } from '../../../db/queries/copied-rows.ts'
import type { CacheLimits } from './limits.ts'
import { formatIntent, type Repairs, toRowArguments } from './repairs.ts'
import type { ScriptedLink } from './scripted-link.ts'

interface CacheWriterOptions {
  readonly link: Pick<ScriptedLink, 'isReady' | 'run'>
  /** Of this gateway, in Redis and in PostgreSQL. */
  readonly name: string
  readonly repairs: Pick<Repairs, 'add' | 'addUndecided' | 'has' | 'repair'>
  readonly limits: Pick<CacheLimits, 'waitMs' | 'rowsPerScript'>
  /** Between COMMIT and Redis: tests end the process there. */
  readonly onCommitted?: ((devices: readonly string[]) => Promise<void> | void) | undefined
}

/** Stands for no process: no statement is under way in PostgreSQL, or not on a connection that writes batches. */
const NO_PROCESS = 0

export class CacheWriter implements LatestCopy {
  readonly #options: CacheWriterOptions
  #last = 0
  /** Intents of batches and erasures under way. */
  readonly #open = new Set<string>()
  /** Commands that took longer than a batch waits. */
  #overdue = 0
  /** Batches that went on without Redis. */
  late = 0

  constructor (options: CacheWriterOptions) {
    this.#options = options
  }

  /** Redis has yet to answer a command that a batch did not wait for. */
  get isBehind (): boolean {
    return this.#overdue > 0
  }

  /** Intents of this gateway that belong to no batch any more: Redis took them after they had been given up. */
  toStray (ids: readonly string[]): string[] {
    const { name, repairs } = this.#options
    return ids.filter((id) => id.startsWith(`${name}|`) && !this.#open.has(id) && !repairs.has(id))
  }

  async begin (devices: readonly string[], pid: number): Promise<CopyIntent> {
    const { name, repairs, onCommitted } = this.#options
    const id = `${name}|${++this.#last}`
    const isAnnounced = await this.#announce(id, devices, pid)
    return {
      apply: async (rows) => {
        await onCommitted?.(devices)
        if (!isAnnounced) {
          repairs.add(devices)
          this.#open.delete(id)
          return
        }
        // Redis may take the rows late; until then `isBehind` holds.
        await this.#within(this.#apply(id, rows).then((isTaken) => {
          if (!isTaken) repairs.addUndecided(name, { id, pid: NO_PROCESS, devices })
          this.#open.delete(id)
        }))
      },
      giveUp: (isDecided) => {
        this.#open.delete(id)
        repairs.addUndecided(name, { id, pid: isDecided ? NO_PROCESS : pid, devices })
      }
    }
  }

  /**
   * An erasure of a device is about to begin.
   * @returns a function to call once the erasure has ended in any way; it settles when the copy is right again, or is
   *   not trusted here
   */
  async beginErasure (device: string): Promise<() => Promise<void>> {
    const { name, repairs } = this.#options
    const id = `${name}|${++this.#last}`
    await this.#announce(id, [device], NO_PROCESS)
    return async () => {
      this.#open.delete(id)
      const busy = await repairs.repair([device], [id]).catch(() => [device])
      if (busy.length > 0) repairs.addUndecided(name, { id, pid: NO_PROCESS, devices: [device] })
    }
  }

  /** @returns whether Redis has the intent */
  async #announce (id: string, devices: readonly string[], pid: number): Promise<boolean> {
    const { link } = this.#options
    this.#open.add(id)
    if (!link.isReady || this.isBehind) return false
    const reply = await this.#within(link.run('INTEND', id, formatIntent(pid, devices)))
    return reply !== null && !(reply instanceof Error)
  }

  /** @returns whether Redis took the rows; never rejects */
  async #apply (id: string, rows: readonly VersionedRow[]): Promise<boolean> {
    const { link, limits: { rowsPerScript } } = this.#options
    if (!link.isReady) return false
    const calls: Array<Array<string | number>> = []
    for (let from = 0; from === 0 || from < rows.length; from += rowsPerScript) {
      const part = rows.slice(from, from + rowsPerScript)
      const args: Array<string | number> = [id, from + rowsPerScript >= rows.length ? 1 : 0]
      for (const row of part) args.push(...toRowArguments(row))
      calls.push(args)
    }
    try {
      // One at a time: Redis reads on while a connection has more, and pages of other connections would wait for all parts.
      for (const args of calls) if (await link.run('APPLY', ...args) !== 1) return false
      return true
    } catch {
      return false
    }
  }

  /** @returns the answer, or an error; `null` where it did not come in time */
  async #within<T> (command: Promise<T>): Promise<T | Error | null> {
    let timer: NodeJS.Timeout | undefined
    const settled = command.catch((error: unknown) => error as Error)
    const late = new Promise<null>((resolve) => { timer = setTimeout(() => { resolve(null) }, this.#options.limits.waitMs) })
    const answer = await Promise.race([settled, late])
    clearTimeout(timer)
    if (answer === null) {
      this.late++
      this.#overdue++
      settled.finally(() => { this.#overdue-- }).catch(() => {})
    }
    return answer
  }
}
