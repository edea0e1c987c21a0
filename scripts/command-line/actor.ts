import { hostname, userInfo } from 'node:os'

/** Who runs this script, for `audit_log`: `cli:{user}@{host}`. What the operating system says, so it is a trace and no proof. */
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
