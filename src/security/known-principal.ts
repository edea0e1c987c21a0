import type { Principal } from '../../schemas/principal.ts'

/** The digest of a secret, with its expiry. */
export interface KnownSecret {
  /** SHA-256, one byte a character. */
  readonly digest: string
  /** Unix milliseconds; `Infinity`: never. */
  readonly expiresAtMs: number
  /** The principal that it proves. */
  readonly principal: Principal
}

/** The hash of a password, with its expiry. */
export interface KnownPassword {
  /** PHC string. */
  readonly argon2id: string
  readonly expiresAtMs: number
  readonly principal: Principal
}

/** A cached principal; replaced, never changed. */
export interface KnownPrincipal {
  readonly principal: Principal
  readonly isRevoked: boolean
  readonly secrets: readonly KnownSecret[]
  readonly passwords: readonly KnownPassword[]
}
