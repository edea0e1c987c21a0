/**
 * The keys of the tokens' issuer, read again every ten seconds from a file and every minute from a URL, with or
 * without traffic. A removed key is refused from then on, and the connections that it admitted end. While the source
 * fails, the last keys stay valid for an hour. So an issuer may be away for an hour without locking clients out, and
 * an attacker that blocks its URL can use a withdrawn key for an hour. After that no token can be checked.
 */
import { readFile } from 'node:fs/promises'
import {
  calculateJwkThumbprint, createLocalJWKSet, type CryptoKey, errors, exportJWK, type JSONWebKeySet, type JWTVerifyGetKey, type KeyObject
} from 'jose'
import { SECURITY_LIMITS } from './limits.ts'

const { jwksAgeMaxMs, jwksFileAgeMaxMs, jwksCooldownMs, jwksTimeoutMs, jwksTrustedMs, jwksBytesMax } = SECURITY_LIMITS

interface KeySetOptions {
  /** Keys were removed from the set. */
  readonly onRemoved?: () => void
  /** The source fails. */
  readonly onFailure?: (error: unknown) => void
  /** Instead of those of {@link SECURITY_LIMITS}. */
  readonly ageMaxMs?: number
  readonly cooldownMs?: number
  readonly trustedMs?: number
}

/**
 * Keys of the issuer, by file or URL.
 * @throws when the file cannot be read, or holds no key set
 */
export async function createKeySet (source: string, options: KeySetOptions = {}) {
  const isUrl = /^https?:/.test(source)
  const {
    onRemoved, onFailure, ageMaxMs = isUrl
      ? jwksAgeMaxMs
      : jwksFileAgeMaxMs, cooldownMs = jwksCooldownMs, trustedMs = jwksTrustedMs
  } = options
  let find: JWTVerifyGetKey | null = null
  let ids: ReadonlySet<string> = new Set()
  let loadedAtMs = -Infinity
  let triedAtMs = -Infinity
  let failure: unknown = null
  let loading: Promise<void> | null = null
  let timer: NodeJS.Timeout | null = null

  async function load (): Promise<void> {
    triedAtMs = performance.now()
    const { keys } = JSON.parse(await (isUrl ? fetchText(source) : readFile(source, 'utf8'))) as JSONWebKeySet
    // A key that cannot be exported could not be distinguished from another.
    const set = { keys: Array.isArray(keys) ? keys.map((key) => ({ ...key, ext: true })) : keys }
    const next = createLocalJWKSet(set)
    const thumbprints = await Promise.all(set.keys.map((key) => calculateJwkThumbprint(key).catch(() => '')))
    const nextIds = new Set(thumbprints.filter((id) => id !== ''))
    const isRemoved = [...ids].some((id) => !nextIds.has(id))
    find = next
    ids = nextIds
    loadedAtMs = performance.now()
    failure = null
    if (isRemoved) onRemoved?.()
  }

  /** One at a time; further calls wait for it. Does not reject. */
  function reload (): Promise<void> {
    loading ??= load().catch((error: unknown) => {
      failure = error
      onFailure?.(error)
    }).finally(() => { loading = null })
    return loading
  }

  const isCool = () => performance.now() - triedAtMs >= cooldownMs
  const isTrusted = () => performance.now() - loadedAtMs < trustedMs

  if (!isUrl) await load()
  return {
    /** For jose. @throws the failure of the last read, where no keys may be trusted */
    getKey: (async (header, token) => {
      if (performance.now() - loadedAtMs >= ageMaxMs && (loading !== null || isCool())) await reload()
      if (find === null || !isTrusted()) {
        throw failure instanceof Error ? failure : new Error('the keys of the issuer cannot be fetched')
      }
      try {
        return await find(header, token)
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey) || !isCool()) throw error
        await reload()
        return await find(header, token)
      }
    }) satisfies JWTVerifyGetKey,

    /** The thumbprints that identify keys (RFC 7638). */
    idOf: async (key: CryptoKey | KeyObject | Uint8Array): Promise<string> => await calculateJwkThumbprint(await exportJWK(key)),
    /** Whether the set still holds a key. */
    has: (id: string): boolean => ids.has(id),
    get isTrusted (): boolean {
      return isTrusted()
    },
    /** Seconds since the keys were read; infinite before. */
    get ageS (): number {
      return (performance.now() - loadedAtMs) / 1000
    },
    get isFailing (): boolean {
      return failure !== null
    },
    /** Reads the keys at intervals. */
    start (): void {
      timer = setInterval(() => { reload().catch(() => {}) }, ageMaxMs).unref()
    },
    async stop (): Promise<void> {
      if (timer !== null) clearInterval(timer)
      await loading
    }
  }
}

export type KeySet = Awaited<ReturnType<typeof createKeySet>>

async function fetchText (url: string): Promise<string> {
  const response = await fetch(url, {
    redirect: 'error', signal: AbortSignal.timeout(jwksTimeoutMs), headers: { accept: 'application/json' }
  })
  if (response.status !== 200) throw new Error(`${url} answers ${response.status}`)
  const chunks: Uint8Array[] = []
  let bytes = 0
  // An error that leaves the loop cancels the answer. Its Content-Length may be missing.
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += chunk.byteLength
    if (bytes > jwksBytesMax) throw new Error(`${url} answers more than ${jwksBytesMax} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}
