import type { Authentication, Credentials } from '../../broker/connect/credentials.ts'
import { isRole, type Principal } from '../../schemas/principal.ts'

const NEVER_SLOWED = { freeMax: Infinity, delayMs: 0, delayMsMax: 0, forgetMs: 60_000, keysMax: 1000 }

/** For tests with more refused logins than the delays allow. */
export const NOT_SLOWED = { failedLoginsOfName: NEVER_SLOWED, failedLoginsOfAddress: NEVER_SLOWED, takeoversOfClientId: NEVER_SLOWED }

/** The password of everyone in these tests. */
export const PASSWORD = 'correct horse'

/**
 * An `authenticate` without a directory that accepts every id with the right password. The username is `role:id`,
 * or an id alone for a device.
 */
export function authenticateByName ({ username = '', password }: Credentials): Authentication {
  const principal = toPrincipal(username)
  if (principal === null || password?.toString() !== PASSWORD) return { status: 'refused', reason: 'wrong_secret' }
  return { status: 'accepted', principal }
}

function toPrincipal (username: string): Principal | null {
  const [, role = 'device', id] = /^(?:(\w+):)?(.+)$/.exec(username) ?? []
  return isRole(role) && id !== undefined ? { id, role } : null
}

/** The CONNECT options of a client with this name. */
export function login (username: string, clientId = username) {
  return { username, password: Buffer.from(PASSWORD), clientId }
}
