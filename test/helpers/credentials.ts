import { connect as connectMqtt, type IClientOptions } from 'mqtt'
import { pino } from 'pino'
import type { Test } from 'tap'
import { createDatabase } from '../../db/database.ts'
import { insertPrincipals } from '../../db/queries/insert-principals.ts'
import { revokePrincipals } from '../../db/queries/revoke-principals.ts'
import { rotateSecret } from '../../db/queries/rotate-secret.ts'
import type { Role } from '../../schemas/principal.ts'
import { hashPassword } from '../../src/security/passwords.ts'
import { digestOf, generateSecret, toDigestBytes } from '../../src/security/secrets.ts'

/** Adds, revokes and rotates credentials in a database, as an administrator does. */
export function openCredentials (t: Test, connectionString: string) {
  const { kysely, close } = createDatabase({ connectionString, poolSize: 1, logger: pino({ level: 'silent' }) })
  t.teardown(() => close())
  return {
    /** @returns the secret */
    async add (id: string, role: Role): Promise<string> {
      const secret = generateSecret()
      const added = await insertPrincipals(kysely, [{ id, role, secretSha256: toDigestBytes(digestOf(secret)) }])
      if (added.length === 0) throw new Error(`${id} exists`)
      return secret
    },
    async addWithPassword (id: string, role: Role, password: string): Promise<void> {
      await insertPrincipals(kysely, [{ id, role, passwordArgon2id: await hashPassword(password) }])
    },
    async revoke (id: string): Promise<void> {
      await revokePrincipals(kysely, [id])
    },
    /** @returns the new secret */
    async rotate (id: string, graceS: number): Promise<string> {
      const secret = generateSecret()
      await rotateSecret(kysely, { id, secretSha256: toDigestBytes(digestOf(secret)), graceS })
      return secret
    }
  }
}

/** One attempt to connect. @returns the CONNACK's return code; 0 leaves nothing open */
export async function tryConnect (port: number, options: IClientOptions): Promise<number> {
  const client = connectMqtt({ host: '127.0.0.1', port, reconnectPeriod: 0, connectTimeout: 10_000, ...options })
  try {
    return await new Promise((resolve, reject) => {
      client.once('connect', () => { resolve(0) })
      client.once('error', (error) => {
        const { code } = error as { code?: unknown }
        if (typeof code === 'number') resolve(code)
        else reject(error)
      })
      client.once('close', () => { reject(new Error('closed without a CONNACK')) })
    })
  } finally {
    await client.endAsync(true)
  }
}

/** CONNECT options of a client with this id. */
export function login (id: string, password: string, clientId = id): IClientOptions {
  return { username: id, password, clientId }
}

/** Headers of a request with a secret or a token. */
export function bearer (secret: string): Record<string, string> {
  return { authorization: `Bearer ${secret}` }
}
