import type { Principal } from '../../schemas/principal.ts'
import type { createAccess } from './access.ts'
import type { Directory } from './directory.ts'

interface CurrentPrincipalsOptions {
  readonly access: Pick<ReturnType<typeof createAccess>, 'mode'>
  readonly directory: Pick<Directory, 'find'>
  /** Tokens or client certificates are configured: a principal need not be in PostgreSQL. */
  readonly hasOtherCredentials: boolean
}

/**
 * Tells whether a principal that another gateway let in may still be connected. Its credential is not known here, so a
 * secret that was rotated meanwhile counts still. While PostgreSQL does not answer, a principal that is not cached
 * counts too, as it does at its gateway.
 */
export function createIsCurrent ({ access, directory, hasOtherCredentials }: CurrentPrincipalsOptions) {
  return async (principal: Principal | null): Promise<boolean> => {
    if (access.mode === 'open') return true
    if (principal === null) return false
    const found = await directory.find(principal.id)
    if (found === 'unavailable') return true
    if (found === undefined) return hasOtherCredentials
    return !found.isRevoked && found.principal.role === principal.role
  }
}
