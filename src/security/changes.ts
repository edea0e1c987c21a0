/**
 * Looks each second for principals that changed, so that the directory is at most about a second behind.
 *
 * Changes are read by their COMMIT and not by a time that was stamped before it: each look takes PostgreSQL's snapshot,
 * and reads the rows of `principal_changes` that this snapshot sees and the one before did not. They come in pages, and
 * each page is handled before the next is read. A look that fails continues behind its last page.
 *
 *   (snapshot of the last look that was finished) ──page──> ──page──> (snapshot of this look)
 *
 * Where the log does not have the changes, every cached principal is read from PostgreSQL again: at the first look,
 * after PostgreSQL was started anew or another took its place, and for a gateway that was away from it for longer than
 * the log reaches back. While PostgreSQL is away no changes are read; the first look after its return reads all that
 * was missed.
 */
import type { Logger } from 'pino'
import type { ChangePosition, ChangeState } from '../../db/queries/read-change-state.ts'
import type { ChangedPrincipals } from '../../db/queries/select-changed-principals.ts'
import { SECURITY_LIMITS } from './limits.ts'

interface ChangesOptions {
  readonly readState: (since: ChangePosition | null) => Promise<ChangeState>
  readonly selectChanged: (page: {
    since: string
    until: string
    after: number
    count: number
  }) => Promise<readonly ChangedPrincipals[]>
  /** Called after each successful poll. */
  readonly onState: (isEmpty: boolean) => void
  /** Changed principals, some thousands at most. When it rejects, the next look passes them again. */
  readonly onChanged: (ids: readonly string[]) => Promise<void>
  /** Any principal may have changed. */
  readonly onUnknown: () => Promise<void>
  readonly logger: Logger
  readonly intervalMs?: number
}

/** An unfinished poll. */
interface Look {
  readonly state: ChangeState
  /** Id of the last row that was dealt with. */
  after: number
}

/** The repeated look. @returns `start` makes the first one now; `stop` settles when none is under way */
export function createChanges (options: ChangesOptions) {
  const { readState, selectChanged, onState, onChanged, onUnknown, logger, intervalMs = SECURITY_LIMITS.changesIntervalMs } = options
  let since: ChangePosition | null = null
  let unfinished: Look | null = null
  let timer: NodeJS.Timeout | null = null
  let round: Promise<void> = Promise.resolve()
  let isStopped = false
  let isFailing = false

  async function look (): Promise<void> {
    const state = await readState(since)
    // A poll cannot resume in the log of another server, nor where rows of the log were deleted.
    if (state.isUnknown) unfinished = null
    const current = unfinished ?? { state, after: 0 }
    unfinished = current
    if (current.state.isUnknown) await onUnknown()
    else if (current.state.hasChanged) await tellPages(current)
    const { snapshot, server, isEmpty } = current.state
    since = { snapshot, server }
    unfinished = null
    onState(isEmpty)
  }

  async function tellPages (look: Look): Promise<void> {
    if (since === null) return
    const count = SECURITY_LIMITS.changesPageRows
    for (;;) {
      const page = await selectChanged({ since: since.snapshot, until: look.state.snapshot, after: look.after, count })
      if (page.some(({ principals }) => principals.length === 0)) await onUnknown()
      else if (page.length > 0) await onChanged(page.flatMap(({ principals }) => principals))
      look.after = page.at(-1)?.id ?? look.after
      if (page.length < count || isStopped) return
    }
  }

  async function run (): Promise<void> {
    try {
      await look()
      if (isFailing) logger.info('changes of credentials are read again')
      isFailing = false
    } catch (error) {
      if (!isFailing && !isStopped) {
        logger.warn({ err: error },
          'changes of credentials cannot be read; cached credentials stay valid until they can')
      }
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
    /** True while changes cannot be read from PostgreSQL. */
    get isBlind (): boolean {
      return isFailing
    }
  }
}
