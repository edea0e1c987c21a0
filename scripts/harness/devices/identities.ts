/** Credentials of the harness's devices: the secret follows from the id, so that no process has to pass it on. */
import { hash } from 'node:crypto'
import { pino } from 'pino'
import { createDatabase, type Database } from '../../../db/database.ts'
import { insertPrincipals } from '../../../db/queries/insert-principals.ts'
import type { Role } from '../../../schemas/principal.ts'
import type { PublisherSettings } from './messages.ts'

/** Has the form of a generated secret. */
export function secretOf (id: string): string {
  return `vg_${hash('sha256', `chaos ${id}`, 'base64url')}`
}

/** MQTT devices first. */
export function toDeviceIds ({ prefix, devices, httpDevices }: Pick<PublisherSettings, 'prefix' | 'devices' | 'httpDevices'>): string[] {
  return Array.from({ length: devices + httpDevices }, (_, index) => `${prefix}-${index < devices ? 'm' : 'h'}${index}`)
}

/** Calls `run` with a connection of its own, as the operator's tools have. */
export async function withDatabase<Result> (connectionString: string, run: (database: Database) => Promise<Result>): Promise<Result> {
  const logger = pino({ level: 'silent' })
  const database = createDatabase({
    connectionString, poolSize: 1, logger, applicationName: 'vital-chaos', statementTimeoutMs: 60_000, queryTimeoutMs: 61_000
  })
  try {
    return await run(database)
  } finally {
    await database.close()
  }
}

/** Adds principals with their {@link secretOf}; existing ones stay as they are. */
export async function addIdentities (connectionString: string, role: Role, ids: readonly string[]): Promise<void> {
  await withDatabase(connectionString, async ({ kysely }) => {
    await insertPrincipals(kysely, ids.map((id) => ({ id, role, secretSha256: Buffer.from(hash('sha256', secretOf(id), 'hex'), 'hex') })))
  })
}
