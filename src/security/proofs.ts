/**
 * The credential that a login was accepted for, kept with the principal that is handed out. A change of the principal
 * ends only the connections whose own credential is gone, and gives the others their new end.
 */
import type { Principal, Role } from '../../schemas/principal.ts'
import type { KnownPrincipal } from './known-principal.ts'

/** The credential that a principal was accepted for. */
export type Proof =
  | { readonly kind: 'secret', readonly digest: string }
  | { readonly kind: 'password', readonly argon2id: string }
  /** @property keyId - thumbprint of the issuer's key that signed it */
  | { readonly kind: 'token', readonly keyId: string }
  | { readonly kind: 'certificate' }

const PROOF = Symbol('proof')

interface ProvenPrincipal extends Principal {
  readonly [PROOF]: Proof
}

/** A principal that was accepted for `proof`. */
export function toProven (id: string, role: Role, proof: Proof): Principal {
  const principal: ProvenPrincipal = { id, role, [PROOF]: proof }
  return Object.freeze(principal)
}

/**
 * The time until which an accepted client may stay connected, after its principal has changed.
 * @param now - the principal as it is; `null`: it does not exist
 * @returns Unix milliseconds, 0 to end at once; `undefined`: the change does not concern this credential
 */
export function entitledUntil (principal: Principal, now: KnownPrincipal | null): number | undefined {
  const proof = (principal as Partial<ProvenPrincipal>)[PROOF]
  // A principal that was not accepted here has no proof.
  if (proof === undefined || now?.isRevoked === true) return 0
  if (proof.kind === 'token') return undefined
  if (proof.kind === 'certificate') return now === null || now.principal.role === 'device' ? undefined : 0
  if (now === null || now.principal.role !== principal.role) return 0
  const credential = proof.kind === 'secret'
    ? now.secrets.find(({ digest }) => digest === proof.digest)
    : now.passwords.find(({ argon2id }) => argon2id === proof.argon2id)
  return credential?.expiresAtMs ?? 0
}

/** The issuer's key that signed the token of an accepted client; `undefined` for other credentials. */
export function tokenKeyOf (principal: Principal): string | undefined {
  const proof = (principal as Partial<ProvenPrincipal>)[PROOF]
  return proof?.kind === 'token' ? proof.keyId : undefined
}
