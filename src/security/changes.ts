/**
 * Looks each second for principals that changed, so that what the directory knows is at most about a second old.
 *
 * `changed_at` is stamped by the statement and becomes visible with its COMMIT, so a change may show up behind later ones.
 * Each round therefore looks `changesOverlapMs` further back than the time of the round before, and leaves out those that
 * it has told already. All times are PostgreSQL's; when its clock goes back (a standby took over), the rounds follow it.
 * While PostgreSQL is away nothing is told; the first round after it has come back tells all that was missed.
 */
import type { Logger } from 'pino'
import type { ChangedPrincipal } from '../../db/queries/select-changed-principals.ts'
import { SECURITY_LIMITS } from './limits.ts'

const MICROSECONDS = 1000

interface ChangesOptions {
  readonly readState: () => Promise<{ readonly isEmpty: boolean, readonly nowUs: number }>
  readonly selectChanged: (from: { afterUs: number, afterId: string, count: number }) => Promise<readonly ChangedPrincipal[]>
  /** Told every round that succeeds. */
  readonly onState: (isEmpty: boolean) => void
  /** These changed since they were last told; at most `changesBatchMax` a call. Whoever was looked up in the meantime may be known as told already. */
  readonly onChanged: (changed: readonly ChangedPrincipal[]) => void
  readonly logger: Logger
  readonly intervalMs?: number
}

/** The rounds. @returns `start` makes the first round now; `stop` settles when no round is under way */
export function createChanges (options: ChangesOptions) {
  const { readState, selectChanged, onState, onChanged, logger, intervalMs = SECURITY_LIMITS.changesIntervalMs } = options
  const overlapUs = SECURITY_LIMITS.changesOverlapMs * MICROSECONDS
  /** PostgreSQL's clock in the last round that succeeded; `null` before the first. */
  let seenUntilUs: number | null = null
  let told = new Map<string, number>()
  let timer: NodeJS.Timeout | null = null
  let round: Promise<void> = Promise.resolve()
  let isStopped = false
  let isFailing = false

  async function look (): Promise<void> {
    const { isEmpty, nowUs } = await readState()
    // What was looked up before the first round may be older than it, so that round tells the overlap as well.
    const fromUs = Math.min(seenUntilUs ?? nowUs, nowUs) - overlapUs
    const recent = new Map<string, number>()
    let last: ChangedPrincipal = { id: '', changedAtUs: fromUs }
    for (;;) {
      const page = await selectChanged({ afterUs: last.changedAtUs, afterId: last.id, count: SECURITY_LIMITS.changesBatchMax })
      for (const { id, changedAtUs } of page) recent.set(id, changedAtUs)
      const changed = page.filter(({ id, changedAtUs }) => told.get(id) !== changedAtUs)
      if (changed.length > 0) onChanged(changed)
      last = page.at(-1) ?? last
      if (page.length < SECURITY_LIMITS.changesBatchMax) break
    }
    told = recent
    seenUntilUs = nowUs
    onState(isEmpty)
  }

  async function run (): Promise<void> {
    try {
      await look()
      if (isFailing) logger.info('changes of credentials are seen again')
      isFailing = false
    } catch (error) {
      if (!isFailing && !isStopped) logger.warn({ err: error }, 'changes of credentials cannot be seen; those known stay valid until they can')
      isFailing = true
    }
    if (!isStopped) timer = setTimeout(next, intervalMs).unref()
  }

  function next (): void {
    round = run()
  }

  return {
    start: next,
    async stop (): Promise<void> {
      isStopped = true
      if (timer !== null) clearTimeout(timer)
      await round
    },
    /** True while PostgreSQL does not tell what changed. */
    get isBlind (): boolean {
      return isFailing
    }
  }
}
