import { within } from './limits.ts'
import type { Outbox } from './outbox.ts'
import type { SessionStore } from './session-store.ts'

interface CopiesOptions {
  readonly store: Pick<SessionStore, 'isBehind' | 'flush'>
  readonly outbox: Pick<Outbox, 'isEmpty' | 'settled'>
  /** Whether Redis answers. */
  readonly isJoined: () => boolean
  /** Longest that anything waits. */
  readonly timeoutMs: number
}

/**
 * Tells when Redis has what this gateway owes: deliveries of persistent sessions, and messages for other gateways. Who
 * asks in one turn waits together, and what is asked for first settles first.
 */
export function createCopies ({ store, outbox, isJoined, timeoutMs }: CopiesOptions) {
  /** Begins behind this turn. */
  let next: Promise<void> | null = null
  /** The last that has begun, until it has settled. */
  let last: Promise<void> | null = null

  async function copy (): Promise<void> {
    await new Promise(setImmediate)
    last = next
    next = null
    await within(Promise.all([outbox.settled(), store.flush()]), timeoutMs)
  }

  return {
    /** @returns `null`: Redis has all, or does not answer. Never rejects, and waits for `timeoutMs` at most. */
    whenCopied (): Promise<void> | null {
      if (next !== null) return next
      if (!isJoined() || (!store.isBehind && outbox.isEmpty)) return last
      const begun: Promise<void> = next = copy()
      begun.then(() => { if (last === begun) last = null }, () => {})
      return begun
    }
  }
}
