import type { Joining } from '../joining.ts'
import { within } from '../limits.ts'
import type { SessionStore } from '../session-store.ts'
import type { CopiedWills } from './copied-wills.ts'

interface OwnershipOptions {
  readonly store: Pick<SessionStore, 'changed' | 'flush'>
  readonly copiedWills: CopiedWills
  readonly joining: Pick<Joining, 'isJoined' | 'isInDoubt' | 'isReplaced'>
  /** Longest that a CONNACK waits for Redis. */
  readonly timeoutMs: number
}

const POLL_MS = 5

/** Wills of clients of this gateway: when Redis has them, and whether they are this gateway's still. */
export function createWillOwnership ({ store, copiedWills, joining, timeoutMs }: OwnershipOptions) {
  async function askLater (clientId: string): Promise<boolean> {
    const doubt = copiedWills.doubt(clientId)
    while (joining.isInDoubt) await new Promise((resolve) => { setTimeout(resolve, POLL_MS) })
    copiedWills.endDoubt(clientId)
    return !doubt.isTaken && !joining.isReplaced
  }

  return {
    /** @see Cluster.whenWillIsKept */
    async whenWillIsKept (clientId: string): Promise<void> {
      store.changed(clientId)
      if (joining.isJoined) await within(store.flush(), timeoutMs)
    },

    /**
     * While the lease stands no other gateway adopts, so the answer holds for this turn. A will that Redis does not
     * have is published by no other gateway.
     * @see Remote.whenWillIsOurs
     */
    whenWillIsOurs (clientId: string): Promise<boolean> | null {
      return joining.isInDoubt && copiedWills.has(clientId) ? askLater(clientId) : null
    }
  }
}
