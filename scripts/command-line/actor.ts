import { hostname, userInfo } from 'node:os'

/**
 * The actor of this command for `audit_log`: `cli:{user}@{host}`. It comes from the operating system, so it is not a
 * proof.
 */
export function toActor (): string {
  return `cli:${toUserName()}@${hostname()}`
}

/** In a container a process may run as a number that no account has. */
function toUserName (): string {
  try {
    return userInfo().username
  } catch {
    return String(process.getuid?.() ?? 'unknown')
  }
}
