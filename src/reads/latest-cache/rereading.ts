/**
 * Reads `latest` again by key, beside the traffic, and compares it with the copy: fills an empty copy, and finds
 * changes by hand. One gateway at a time does it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { type CopiedRow, selectCopiedRows } from '../../../db/queries/copied-rows.ts'
import type { Reply } from '../../../broker/cluster/redis/redis-link.ts'
import type { ReadBudget } from '../read-budget.ts'
import type { CacheState } from './cache-state.ts'
import type { CacheLimits } from './limits.ts'
import { type Repairs, toRowArguments } from './repairs.ts'
import type { ScriptedLink } from './scripted-link.ts'
import { KEYS } from './scripts.ts'

interface RereadingOptions {
  readonly link: Pick<ScriptedLink, 'isReady' | 'call' | 'run'>
  readonly name: string
  readonly state: CacheState
  readonly repairs: Pick<Repairs, 'add' | 'dirty'>
  readonly budget: Pick<ReadBudget, 'background'>
  readonly limits: CacheLimits
  readonly isStopping: () => boolean
  readonly logger: Logger
}

export function createRereading (options: RereadingOptions) {
  const { link, name, state, repairs, budget, limits, isStopping, logger } = options
  let running: Promise<void> | null = null
  let comparedAtMs = -Infinity
  let isAsked = false

  async function takeTurn (): Promise<boolean> {
    const reply = await link.call('SET', KEYS.turn, name, 'NX', 'PX', limits.turnMs)
    return reply !== null
  }

  async function empty (): Promise<void> {
    await link.run('EMPTY', state.origin!)
    state.noteEmptied()
  }

  async function compare (after: string, rows: readonly CopiedRow[], isLast: boolean): Promise<void> {
    for (let from = 0; from === 0 || from < rows.length; from += limits.rowsPerScript) {
      const part = rows.slice(from, from + limits.rowsPerScript)
      const isEnd = isLast && from + limits.rowsPerScript >= rows.length
      const behind = from === 0 ? after : rows[from - 1]!.device
      const args = part.flatMap((row) => toRowArguments({ ...row, version: '0' }))
      const differ = await link.run('COMPARE', behind, isEnd ? '' : part.at(-1)!.device, ...args) as Reply[]
      repairs.add(differ.map(String))
    }
  }

  async function read (share: number): Promise<number> {
    let devices = 0
    for (let after = ''; ;) {
      const beganMs = performance.now()
      const rows = await budget.background((kysely) => selectCopiedRows(kysely, after, limits.rowsPerRead))
      const isLast = rows.length < limits.rowsPerRead
      await compare(after, rows, isLast)
      devices += rows.length
      if (isLast) return devices
      after = rows.at(-1)!.device
      await link.call('PEXPIRE', KEYS.turn, limits.turnMs)
      if (isStopping()) throw new Error('the gateway stops')
      await sleep((performance.now() - beganMs) * (1 / share - 1), undefined, { ref: false })
    }
  }

  /** Waits until the rows that differed are repaired. */
  async function untilRepaired (): Promise<void> {
    const deadlineMs = performance.now() + limits.settleMs
    while (repairs.dirty > 0) {
      if (performance.now() > deadlineMs || isStopping()) throw new Error('rows that differ could not be repaired in time')
      await sleep(limits.repairIntervalMs, undefined, { ref: false })
      await link.call('PEXPIRE', KEYS.turn, limits.turnMs)
    }
  }

  async function run (): Promise<void> {
    const token = state.token
    if (token === null || !await takeTurn()) return
    isAsked = false
    const beganMs = performance.now()
    try {
      if (state.isForeign) await empty()
      const doubts = String(await link.call('GET', KEYS.doubts) ?? '0')
      const wasComplete = state.isComplete
      const devices = await read(wasComplete ? limits.compareShare : limits.fillShare)
      await untilRepaired()
      const buriedBefore = (state.beat?.redisMs ?? 0) - limits.tombstoneMs
      const reply = await link.run('COMPLETE', token, doubts, buriedBefore)
      if (reply === -1) await empty()
      if (reply !== 1) return
      comparedAtMs = performance.now()
      if (!wasComplete) logger.info({ devices, tookMs: Math.round(performance.now() - beganMs) }, 'pages come from the copy in Redis')
    } finally {
      await link.call('DEL', KEYS.turn)
    }
  }

  function isDue (): boolean {
    if (!link.isReady || !state.isFresh || isStopping()) return false
    // Rows that they write meanwhile would be missing.
    if (state.strangers.length > 0) return false
    return !state.isComplete || state.isForeign || isAsked || performance.now() - comparedAtMs > limits.compareIntervalMs
  }

  return {
    /** Begins when it is due. */
    consider (): void {
      if (running !== null || !isDue()) return
      running = run()
        .catch((error: unknown) => { logger.debug({ err: error }, 'the copy in Redis could not be compared yet') })
        .finally(() => { running = null })
    },
    /** A gateway died, and may have left rows that differ. */
    ask (): void {
      isAsked = true
    },
    async stop (): Promise<void> {
      await running
    }
  }
}
