import { readFile } from 'node:fs/promises'
import { createLocalJWKSet, createRemoteJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose'
import { SECURITY_LIMITS } from './limits.ts'

const { jwksAgeMaxMs, jwksCooldownMs, jwksTimeoutMs } = SECURITY_LIMITS

/**
 * Keys of the issuer. Finds a key, or throws an error of jose, of the file system or of the network.
 * @param source - URL or file
 * @param ageMaxMs - keys of a URL are asked for again after this time
 */
export async function createKeySet (source: string, ageMaxMs: number = jwksAgeMaxMs): Promise<JWTVerifyGetKey> {
  return /^https?:/.test(source) ? createRemoteKeySet(new URL(source), ageMaxMs) : await createFileKeySet(source)
}

/**
 * Asked for when first needed, when too old, and for a key that is not in it. While the issuer does not
 * answer, the keys it gave last stay good.
 */
function createRemoteKeySet (url: URL, cacheMaxAge: number): JWTVerifyGetKey {
  const remote = createRemoteJWKSet(url, { cacheMaxAge, cooldownDuration: jwksCooldownMs, timeoutDuration: jwksTimeoutMs })
  return async (header, token) => {
    try {
      return await remote(header, token)
    } catch (error) {
      const last = remote.jwks()
      if (last === undefined || error instanceof errors.JWKSNoMatchingKey) throw error
      return await createLocalJWKSet(last)(header, token)
    }
  }
}

/** Read at start, and again for a key that is not in it, so that a rotated file needs no restart. */
async function createFileKeySet (path: string): Promise<JWTVerifyGetKey> {
  let local = await readKeySet(path)
  let readAtMs = performance.now()
  return async (header, token) => {
    try {
      return await local(header, token)
    } catch (error) {
      const nowMs = performance.now()
      if (!(error instanceof errors.JWKSNoMatchingKey) || nowMs - readAtMs < jwksCooldownMs) throw error
      readAtMs = nowMs
      local = await readKeySet(path)
      return await local(header, token)
    }
  }
}

async function readKeySet (path: string): Promise<JWTVerifyGetKey> {
  return createLocalJWKSet(JSON.parse(await readFile(path, 'utf8')) as JSONWebKeySet)
}
