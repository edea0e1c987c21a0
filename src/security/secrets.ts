import { hash, randomBytes } from 'node:crypto'

const PREFIX = 'vg_'

/** A prefix that secret scanners can look for, and 32 random bytes: as many as SHA-256 can tell apart. */
const SECRET = /^vg_[\w-]{43}$/

/**
 * A new secret: `vg_` and 43 characters of base64url, 256 random bits. It is shown once; only {@link digestOf} is kept.
 */
export function generateSecret (): string {
  return PREFIX + randomBytes(32).toString('base64url')
}

/** Whether `text` has the form of a generated secret, so that SHA-256 and not argon2id checks it. */
export function isSecret (text: string): boolean {
  return SECRET.test(text)
}

/**
 * SHA-256 of a secret, one byte a character (latin1), as the caches keep it.
 * A slower hash is not needed: 256 random bits cannot be guessed, however cheap a guess is.
 */
export function digestOf (secret: string): string {
  return hash('sha256', secret, 'binary')
}

/** The same as 32 bytes, as PostgreSQL keeps it. */
export function toDigestBytes (digest: string): Buffer {
  return Buffer.from(digest, 'latin1')
}

/** Compares two digests in a time that depends on neither. */
export function isSameDigest (one: string, other: string): boolean {
  if (one.length !== other.length) return false
  let difference = 0
  for (let index = 0; index < one.length; index++) difference |= one.charCodeAt(index) ^ other.charCodeAt(index)
  return difference === 0
}
