import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../../../src/config/config.ts'
import { exposedMessage } from '../../../src/security/access.ts'
import { fail, type Finding, ok, warn } from './finding.ts'

/**
 * Whether clients without a credential may publish and read.
 * @param hasPrincipals - from PostgreSQL; `null`: the gateway's record of its last answer is used
 */
export async function checkAccess (config: Config, hasPrincipals: boolean | null): Promise<Finding> {
  const check = 'access'
  const { host, transport: { tls } } = config
  if (config.tokens !== null || (tls !== null && tls.clientCaFile !== null)) {
    return ok(check,
      'every client needs a credential: tokens or client certificates are configured')
  }
  const isClosed = hasPrincipals ?? await readRecord(config.dataDir)
  if (isClosed === true) return ok(check, 'every client needs a credential')
  if (config.isLoopback) {
    return ok(check,
    `only this machine reaches ${host}${isClosed === false ? '; no credentials exist, so every client on it may publish and read' : ''}`)
  }
  if (isClosed === null) {
    return warn(check, `other machines reach ${host}, and it is unknown whether credentials exist`,
      'run this again when PostgreSQL answers')
  }
  return config.isAnonymousAllowed
    ? warn(check, `every client that reaches ${host} may publish and read`, 'add credentials, and unset VITAL_ALLOW_ANONYMOUS')
    : fail(check, exposedMessage(host))
}

/** @returns whether credentials existed when the gateway last asked; `null`: there is no record */
async function readRecord (dataDir: string): Promise<boolean | null> {
  try {
    const { open } = JSON.parse(await readFile(join(dataDir, 'access.json'), 'utf8')) as { open?: unknown }
    return typeof open === 'boolean' ? !open : null
  } catch {
    return null
  }
}
