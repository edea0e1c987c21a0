/**
 * Reviews connections after a change of principals: each is looked up anew and compared with the credential that it
 * was accepted for. A connection ends when its credential is gone, or its principal is revoked or has another role. It
 * stays, with its new end, when the credential is still valid for some time, as in a rotation with overlap.
 */
import type { Broker } from '../../broker/broker.ts'
import type { Principal } from '../../schemas/principal.ts'
import type { Directory } from './directory.ts'
import { SECURITY_LIMITS } from './limits.ts'
import { entitledUntil } from './proofs.ts'

interface ReviewsOptions {
  readonly directory: Directory
  readonly connections: Pick<Broker, 'principals' | 'review'>
}

/** For {@link import('./changes.ts').createChanges}. */
export function createReviews ({ directory, connections }: ReviewsOptions) {
  function untilOf (principal: Principal | null): number | undefined {
    if (principal === null) return undefined
    const now = directory.peek(principal.id)
    // A principal that is not cached can be looked up when it connects again.
    return now === undefined ? 0 : entitledUntil(principal, now)
  }

  async function refresh (ids: readonly string[], isConnected: boolean): Promise<void> {
    for (let at = 0; at < ids.length; at += SECURITY_LIMITS.lookupBatchMax) {
      const some = ids.slice(at, at + SECURITY_LIMITS.lookupBatchMax)
      await directory.refresh(some)
      if (isConnected) connections.review(untilOf, new Set(some))
    }
  }

  const connectedIds = () => new Set(connections.principals().flatMap((principal) => principal === null
    ? []
    : [principal.id]))

  return {
    /** @see PrincipalReview */
    untilOf,

    /** Principals changed. Settles once their connections have ended, or have their new end. @throws the error of pg */
    async onChanged (ids: readonly string[]): Promise<void> {
      directory.drop(ids)
      const changed = new Set(ids)
      await refresh([...connectedIds()].filter((id) => changed.has(id)), true)
      // For connections that were accepted meanwhile by the state before the change.
      connections.review(untilOf, changed)
    },

    /** Any principal may have changed: the connected ones first, then all other cached ones. @throws the error of pg */
    async onUnknown (): Promise<void> {
      directory.doubt()
      const connected = connectedIds()
      await refresh([...connected], true)
      await refresh(directory.ids().filter((id) => !connected.has(id)), false)
    }
  }
}
