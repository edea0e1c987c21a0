import type { Logger } from 'pino'
import { selectCopyOrigin } from '../../../db/queries/copied-rows.ts'
import type { ReadBudget } from '../read-budget.ts'
import { type CacheState, toReaderName } from './cache-state.ts'
import type { CacheWriter } from './cache-writer.ts'
import type { CacheLimits } from './limits.ts'
import type { Repairs } from './repairs.ts'
import type { createRereading } from './rereading.ts'
import type { ScriptedLink } from './scripted-link.ts'

interface CacheUpkeepOptions {
  readonly link: ScriptedLink
  readonly name: string
  readonly isWriter: boolean
  readonly state: CacheState
  readonly repairs: Repairs
  readonly writer: CacheWriter
  readonly rereading: ReturnType<typeof createRereading>
  readonly budget: Pick<ReadBudget, 'background'>
  readonly limits: CacheLimits
  readonly logger: Logger
}

/**
 * Periodic work for the copy in Redis: reports that this gateway lives and lacks nothing, deals with the intents that
 * silent gateways left, and checks which gateways are connected to PostgreSQL.
 */
export function createCacheUpkeep (options: CacheUpkeepOptions) {
  const { link, name, isWriter, state, repairs, writer, rereading, budget, limits, logger } = options
  let hasJoined = false
  let isStopped = false
  const timers: { beat?: NodeJS.Timeout, watch?: NodeJS.Timeout } = {}
  let tending: Promise<void> | null = null
  let beating: Promise<void> = Promise.resolve()
  let watching: Promise<void> = Promise.resolve()
  const noteFailure = (error: unknown) => { logger.debug({ err: error }, 'the copy in Redis could not be looked after') }

  /** Doubts the copy where devices that may differ were lost, so that it is read again as a whole. */
  async function clear (): Promise<void> {
    if (!repairs.isLost) return
    await link.run('DOUBT')
    repairs.forgive()
  }

  async function beat (): Promise<void> {
    if (!link.isReady) return
    await clear()
    if (isWriter && !hasJoined) {
      state.noteBeat(await link.run('BEAT', '', 0))
      // A program that wrote meanwhile may have written past the copy.
      if (!state.hasOthers) await link.run('DOUBT')
      hasJoined = true
    }
    state.noteBeat(isWriter
      ? await link.run('BEAT', name, repairs.dirty === 0 ? 1 : 0)
      : await link.run('BEAT', toReaderName(name), 1))
    if (isWriter) tending ??= tend().catch(noteFailure).finally(() => { tending = null })
  }

  /** Runs beside the beats, because PostgreSQL may be slow. */
  async function tend (): Promise<void> {
    const stray = writer.toStray(state.beat?.intents ?? [])
    if (stray.length > 0) await repairs.takeOver(name, stray)
    for (const [gateway, ids] of state.orphans) {
      if (!await repairs.takeOver(gateway, ids)) continue
      logger.info({ gateway, intents: ids.length }, 'devices that a silent gateway was writing to Redis are repaired')
    }
  }

  async function watch (): Promise<void> {
    const newest = state.beat?.newest ?? 0
    state.noteWatch(await budget.background(selectCopyOrigin), newest)
    if (!isWriter || !link.isReady) return
    for (const gateway of state.departed) {
      await link.run('DOUBT')
      state.forget(gateway)
    }
    for (const gateway of state.dead) {
      // It lacked something when it died. Or this gateway could not reach Redis then, and perhaps that one could not.
      if (state.wasLacking(gateway) || state.wholeAgeOf(gateway) > link.ageMs) await link.run('DOUBT')
      rereading.ask()
      await link.run('LEAVE', gateway)
    }
    for (const name of state.deadReaders) await link.run('LEAVE', name)
    if (state.isOutnumbered) {
      await link.run('DOUBT')
      return
    }
    rereading.consider()
  }

  function repeat (timer: 'beat' | 'watch', work: () => Promise<void>, intervalMs: number): Promise<void> {
    return work()
      .catch(noteFailure)
      .finally(() => {
        if (isStopped) return
        timers[timer] = setTimeout(() => {
          const round = repeat(timer, work, intervalMs)
          if (timer === 'beat') beating = round
          else watching = round
        }, intervalMs).unref()
      })
  }

  return {
    start (): void {
      beating = repeat('beat', beat, limits.beatIntervalMs)
      watching = repeat('watch', watch, limits.watchIntervalMs)
    },
    /** Settles when nothing is under way. */
    async stop (): Promise<void> {
      isStopped = true
      clearTimeout(timers.beat)
      clearTimeout(timers.watch)
      await Promise.all([beating, watching, tending])
    }
  }
}
