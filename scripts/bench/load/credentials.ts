import { hash, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { insertPrincipals } from '../../../db/queries/insert-principals.ts'
import pino from 'pino'
import { createDatabase } from '../../../db/database.ts'
import type { LoadSettings } from './messages.ts'
import type { DatabaseGateway } from '../sides/targets.ts'

/** The gateway looks once a second for the first credential, which closes it. */
const CLOSE_TIMEOUT_MS = 10_000

const OPERATOR = 'bench-operator'

/** As `vital-gateway credentials` generates them. */
function generateSecret (): string {
  return `vg_${randomBytes(32).toString('base64url')}`
}

/** Adds principals with a new secret each, in the order of `ids`. */
export async function addPrincipals (gateway: DatabaseGateway, role: 'device' | 'operator', ids: readonly string[]): Promise<string[]> {
  const secrets = ids.map(generateSecret)
  const database = createDatabase({
    connectionString: gateway.databaseUrl, poolSize: 1, logger: pino({ level: 'silent' }), applicationName: 'vital-bench'
  })
  try {
    await insertPrincipals(database.kysely, ids.map((id, index) => ({
      id, role, secretSha256: Buffer.from(hash('sha256', secrets[index] ?? '', 'hex'), 'hex')
    })))
  } finally {
    await database.close()
  }
  return secrets
}

/**
 * Gives the gateway its first credential, and waits until it refuses clients without one.
 * @throws Error when it stays open
 */
export async function closeGateway (gateway: DatabaseGateway): Promise<void> {
  const [secret = ''] = await addPrincipals(gateway, 'operator', [OPERATOR])
  const deadlineMs = performance.now() + CLOSE_TIMEOUT_MS
  while ((await fetch(`http://127.0.0.1:${gateway.ports.http}/vital-data?count=1`)).status !== 401) {
    if (performance.now() > deadlineMs) throw new Error('the gateway accepts clients without a credential, though one exists')
    await sleep(100)
  }
  gateway.identify({ authorization: `Bearer ${secret}` })
}

/** The same round with a device principal and a generated secret for each connection. */
export async function arm (gateway: DatabaseGateway, settings: LoadSettings): Promise<LoadSettings> {
  const ids = Array.from({ length: settings.connections }, (_, index) => `${settings.devicePrefix}-${index}`)
  return { ...settings, secrets: await addPrincipals(gateway, 'device', ids) }
}
