import type { Joining } from './joining.ts'
import { within } from './limits.ts'
import type { Outbox } from './outbox.ts'
import type { SessionStore } from './session-store.ts'

interface CopiesOptions {
  readonly store: Pick<SessionStore, 'isBehind' | 'flush'>
  readonly outbox: Pick<Outbox, 'isEmpty' | 'settled'>
  /** Sessions that are on their way here, and what is set aside for them meanwhile. */
  readonly arrivals: {
    /** Grows. */
    readonly setAside: () => number
    /** Settles once no session sets anything aside. */
    readonly settled: () => Promise<void>
  }
  readonly joining: Pick<Joining, 'isJoined' | 'isInDoubt' | 'term'>
  /** Longest that anything waits for Redis. */
  readonly timeoutMs: number
}

/** Another gateway has the sessions, and lacks the messages that were routed here. */
class ReplacedError extends Error {
  readonly code = 'VITAL_GATEWAY_REPLACED'
  constructor () {
    super('the sessions of this gateway were adopted by another')
  }
}

const POLL_MS = 5

/**
 * Tells when Redis has what this gateway must write: deliveries to persistent sessions, and messages for other
 * gateways. Callers of one turn wait together, and earlier callers settle first.
 */
export function createCopies ({ store, outbox, arrivals, joining, timeoutMs }: CopiesOptions) {
  /** The copy that begins after this turn. */
  let next: Promise<void> | null = null
  /** The last copy that has begun, until it has settled. */
  let last: Promise<void> | null = null
  let setAside = 0

  /** Messages that are set aside enter the session, and so its copy, once the session has arrived. */
  async function flush (isOwed: boolean): Promise<void> {
    if (isOwed) await arrivals.settled()
    await store.flush()
  }

  async function copy (): Promise<void> {
    const { term } = joining
    await new Promise(setImmediate)
    const earlier = last
    last = next
    next = null
    const isOwed = arrivals.setAside() !== setAside
    setAside = arrivals.setAside()
    do {
      while (joining.isInDoubt) await new Promise((resolve) => { setTimeout(resolve, POLL_MS) })
      await within(Promise.all([outbox.settled(), flush(isOwed)]), timeoutMs)
    } while (joining.isInDoubt)
    await earlier?.catch(() => {})
    if (joining.term !== term) throw new ReplacedError()
  }

  return {
    /**
     * Waits for `timeoutMs` at most while Redis is away, and until Redis has told whether another gateway has adopted the
     * sessions.
     * @returns `null`: Redis has all, or does not answer. Rejects when another gateway has adopted them
     */
    whenCopied (): Promise<void> | null {
      if (next !== null) return next
      const isDue = joining.isJoined && (store.isBehind || !outbox.isEmpty || arrivals.setAside() !== setAside)
      if (!isDue && !joining.isInDoubt) return last
      const begun: Promise<void> = next = copy()
      // After all callers that wait for it: one of them may ask again, and would overtake those after it.
      const settle = () => { setImmediate(() => { if (last === begun) last = null }) }
      begun.then(settle, settle)
      return begun
    }
  }
}
