import type { Logger } from 'pino'
import type { LatestSearch } from '../../../db/queries/latest-search.ts'
import type { LatestCopy } from '../../../db/store.ts'
import type { Metrics } from '../../metrics/metrics.ts'
import type { ReadBudget } from '../read-budget.ts'
import { addLatestCacheMetrics } from './cache-metrics.ts'
import { CacheState } from './cache-state.ts'
import { createCacheUpkeep } from './cache-upkeep.ts'
import { CacheWriter } from './cache-writer.ts'
import { type CachedPage, parsePage, toPageArguments } from './cached-page.ts'
import { CACHE_LIMITS, type CacheLimits } from './limits.ts'
import { Repairs } from './repairs.ts'
import { createRereading } from './rereading.ts'
import { ScriptedLink } from './scripted-link.ts'

export interface LatestCacheOptions {
  readonly url: string
  /** Of this process, in PostgreSQL and in Redis. */
  readonly name: string
  /** It stores readings; otherwise it only reads the copy. */
  readonly isWriter: boolean
  readonly budget: Pick<ReadBudget, 'background'>
  /** A pooler stands before PostgreSQL, so the connected gateways cannot be known. */
  readonly isPooled: () => boolean
  readonly limits?: Partial<CacheLimits>
  readonly onCommitted?: ((devices: readonly string[]) => Promise<void> | void) | undefined
  readonly metrics: Metrics
  readonly logger: Logger
}

/** The copy of `latest` in Redis. See README.md of the folder above. */
export function createLatestCache (options: LatestCacheOptions) {
  const { url, name, isWriter, budget, isPooled, onCommitted, metrics, logger } = options
  const limits: CacheLimits = { ...CACHE_LIMITS, ...options.limits }
  const link = new ScriptedLink({ url, name, purpose: 'latest', limits, logger })
  // On the connection of the rows a page would wait behind all commands that were sent there.
  const pageLink = new ScriptedLink({ url, name, purpose: 'pages', limits, logger })
  const state = new CacheState({ name, runId: () => link.runId, limits })
  const repairs = new Repairs({ link, budget, limits, logger })
  const writer = new CacheWriter({ link, name, repairs, limits, onCommitted })
  let isStopped = false
  const rereading = createRereading({ link, name, state, repairs, budget, limits, isStopping: () => isStopped, logger })
  const upkeep = createCacheUpkeep({ link, name, isWriter, state, repairs, writer, rereading, budget, limits, logger })
  let pages = 0

  // Both connections must lead to one process: a host name may lead to another server meanwhile.
  const isUp = () => link.isReady && pageLink.isReady && pageLink.runId === link.runId
  const isTrusted = () => isUp() && !isPooled() && state.isTrusted && repairs.dirty === 0 && !repairs.isLost && !writer.isBehind
  const observePage = addLatestCacheMetrics(metrics, () => ({
    isUp: isUp(),
    isTrusted: isTrusted(),
    devices: state.beat?.devices ?? 0,
    dirty: repairs.dirty,
    pages,
    late: writer.late,
    repaired: repairs.repaired
  }))

  return {
    /** Follows batches; `null` in a process that stores nothing. */
    copy: isWriter ? writer satisfies LatestCopy as LatestCopy : null,

    get isTrusted (): boolean {
      return isTrusted()
    },

    /** Connects, so that batches are followed from the first one on. */
    open (): void {
      link.start()
      pageLink.start()
    },

    /** Called once PostgreSQL is ready. */
    start: upkeep.start,

    async stop (): Promise<void> {
      isStopped = true
      await Promise.all([upkeep.stop(), rereading.stop(), repairs.stop()])
    },

    /** Called after the last batch. */
    async close (): Promise<void> {
      // Otherwise the others find that a gateway is gone which lacked something, and compare the whole copy.
      if (isWriter && link.isReady && repairs.dirty === 0 && !repairs.isLost) await link.run('LEAVE', name).catch(() => {})
      link.close()
      pageLink.close()
    },

    /** @returns `null` where the copy cannot be trusted, and PostgreSQL has to be asked */
    async page (search: LatestSearch): Promise<CachedPage | null> {
      const { token } = state
      if (token === null || !isTrusted()) return null
      const beganMs = performance.now()
      try {
        const page = parsePage(await pageLink.run('PAGE', ...toPageArguments(token, search)), search)
        if (page === null) return null
        pages++
        observePage((performance.now() - beganMs) / 1000)
        return page
      } catch {
        return null
      }
    },

    /** A device was erased from PostgreSQL. */
    forget (device: string): void {
      if (isWriter) repairs.add([device])
    },

    /** Runs an erasure of a device. After it Redis holds no data of the device, and none comes back. */
    async aroundErasure<T> (device: string, erase: () => Promise<T>): Promise<T> {
      const finish = await writer.beginErasure(device)
      try {
        return await erase()
      } finally {
        await finish()
      }
    },

    /** Shown in readiness, for as long as they hold. */
    warnings (): string[] {
      const instead = 'pages of the latest states come from PostgreSQL'
      if (isPooled()) return [`VITAL_LATEST_CACHE=redis does not work behind a pooler, which hides other gateways: ${instead}`]
      const away = [link, pageLink].find(({ isReady }) => !isReady)
      if (away !== undefined) return [`Redis has not answered for ${Math.round(away.ageMs / 1000)} s: ${instead}`]
      if (link.runId === null) return [`Redis does not tell its run_id (INFO server), so a restart would not be noticed: ${instead}`]
      const [stranger] = state.strangers
      if (stranger !== undefined) {
        return [`${stranger} does not write latest states to Redis (VITAL_LATEST_CACHE=redis is for all gateways, or for none): ${instead}`]
      }
      return isTrusted() ? [] : [`the latest states in Redis are not known to be complete: ${instead}`]
    }
  }
}

export type LatestCache = ReturnType<typeof createLatestCache>
