import { sql } from 'kysely'
import type { Role } from '../../schemas/principal.ts'

/** A stored credential: the digest or hash that checks a secret or a password, never the secret or password itself. */
export interface StoredCredential {
  readonly kind: 'secret' | 'password'
  /** 64 lower-case hexadecimal digits; `null` for a password. */
  readonly secretSha256: string | null
  /** PHC string; `null` for a secret. */
  readonly passwordArgon2id: string | null
  /** Unix seconds. */
  readonly createdAt: number
  /** Unix seconds; `null`: never. */
  readonly expiresAt: number | null
}

/** A principal and all of its credentials, the expired ones too. */
export interface StoredPrincipal {
  readonly id: string
  readonly role: Role
  /** Unix seconds, this and the next two. */
  readonly createdAt: number
  readonly changedAt: number
  /** `null` while it is not revoked. */
  readonly revokedAt: number | null
  /** Oldest first. */
  readonly credentials: readonly StoredCredential[]
}

/** A {@link StoredPrincipal}, selected from `principals`. Times leave as float8, which keeps microseconds. */
export const PRINCIPAL_COLUMNS = sql`
  principals.id, principals.role,
  extract(epoch from principals.created_at)::float8 as "createdAt",
  extract(epoch from principals.changed_at)::float8 as "changedAt",
  extract(epoch from principals.revoked_at)::float8 as "revokedAt",
  coalesce((
    select jsonb_agg(jsonb_build_object(
      'kind', kind,
      'secretSha256', encode(secret_sha256, 'hex'),
      'passwordArgon2id', password_argon2id,
      'createdAt', extract(epoch from credentials.created_at)::float8,
      'expiresAt', extract(epoch from credentials.expires_at)::float8
    ) order by credentials.created_at, credentials.id)
    from credentials where credentials.principal = principals.id
  ), '[]') as credentials`
