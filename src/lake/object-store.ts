/** A bucket of S3 or of a compatible store, below a prefix. Requests are not retried; callers decide. */
import { randomUUID } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { S3Client } from '@aws-sdk/client-s3'
import { ConfigError } from '../config/config-error.ts'
import type { LakeConfig } from '../config/lake-config.ts'
import type { LakeLimits } from './limits.ts'
import type { S3Library } from './load-packages.ts'

const MIB = 1024 * 1024
const PRECONDITION_FAILED = 412
const CONFLICT = 409
const NOT_FOUND = 404
/** Age of a signature that every store should refuse; S3 refuses those that are more than a quarter of an hour old. */
const OLD_MS = 24 * 3_600_000
/** Used if no region is configured; stores other than S3 accept any. */
const REGION = 'us-east-1'

/** Content to put: a text, or a file. */
export type Body = string | { readonly path: string, readonly bytes: number }

/** Condition of a write. */
type Condition = { readonly IfNoneMatch: '*' } | { readonly IfMatch: string }

export interface StoredObject {
  /** Without the prefix of the lake. */
  readonly key: string
  readonly bytes: number
  readonly etag: string
  /** Unix milliseconds. */
  readonly modifiedMs: number
}

export interface TaggedText {
  readonly text: string
  readonly etag: string
}

export interface ObjectStoreOptions {
  readonly library: S3Library
  readonly location: NonNullable<LakeConfig['location']>
  readonly limits: LakeLimits
  /** Ends requests that are under way. */
  readonly signal: AbortSignal
}

/** Errors are those of the client; `toStoreMessage` makes messages of them. Keys are without the prefix. */
export async function createObjectStore ({ library, location: { bucket: Bucket, prefix }, limits, signal }: ObjectStoreOptions) {
  const client = await createClient(library)
  const within = (bytes = 0) => {
    const timeoutMs = Math.ceil(limits.storeTimeoutMs + bytes / MIB * limits.storeTimeoutMsPerMib)
    return { abortSignal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]) }
  }

  /** Now in Unix milliseconds, by the clock of the store if the client has found that the local one is wrong. */
  const toNowMs = () => Date.now() + client.config.systemClockOffset

  /** @param untilMs - not sent later; the store then refuses its signature after a quarter of an hour */
  async function put (key: string, body: Body, condition: Condition | null, untilMs = Infinity) {
    const bytes = typeof body === 'string' ? Buffer.byteLength(body) : body.bytes
    const stream = typeof body === 'string' ? null : createReadStream(body.path)
    const command = new library.PutObjectCommand({
      Bucket, Key: prefix + key, Body: stream ?? body as string, ContentLength: bytes, ...condition
    })
    // Runs after the request is signed.
    command.middlewareStack.add((next) => async (request) => {
      if (toNowMs() >= untilMs) throw new LateError(`${key} was to be written before ${new Date(untilMs).toISOString()}`)
      return await next(request)
    }, { step: 'deserialize', priority: 'low' })
    try {
      await client.send(command, within(bytes))
    } finally {
      stream?.destroy()
    }
  }

  /** @returns whether the object was written; `false`: the condition does not hold */
  async function putIf (key: string, body: Body, condition: Condition, untilMs?: number): Promise<boolean> {
    for (let conflicts = 0; ; conflicts++) {
      try {
        await put(key, body, condition, untilMs)
        return true
      } catch (error) {
        const status = toStatus(error)
        if (status === PRECONDITION_FAILED) return false
        // Another write of the key is under way, and may fail.
        if (status !== CONFLICT || conflicts === limits.conflictsMax) throw error
        await sleep(limits.conflictMs, undefined, { signal })
      }
    }
  }

  /** @param bytesMax - size for which time is granted */
  async function get (key: string, bytesMax?: number) {
    try {
      return await client.send(new library.GetObjectCommand({ Bucket, Key: prefix + key }), within(bytesMax))
    } catch (error) {
      if (toStatus(error) === NOT_FOUND && (error as Error).name !== 'NoSuchBucket') return null
      throw error
    }
  }

  const remove = (key: string) => client.send(new library.DeleteObjectCommand({ Bucket, Key: prefix + key }), within())

  return {
    nowMs: toNowMs,
    /**
     * Writes an object unless it exists. @returns `false`: it exists
     * @param untilMs - by `nowMs`; the object does not appear more than a quarter of an hour later
     */
    putNew: (key: string, body: Body, untilMs?: number): Promise<boolean> => putIf(key, body, { IfNoneMatch: '*' }, untilMs),
    /** Replaces an object that was read. @returns `false`: it has changed since, or no longer exists */
    replace: async (key: string, body: Body, etag: string): Promise<boolean> => {
      try {
        return await putIf(key, body, { IfMatch: etag })
      } catch (error) {
        if (toStatus(error) === NOT_FOUND) return false
        throw error
      }
    },
    /** Writes an object unconditionally. */
    put: (key: string, body: Body): Promise<void> => put(key, body, null),
    /** @returns `null`: it does not exist */
    async read (key: string): Promise<TaggedText | null> {
      const found = await get(key)
      return found === null ? null : { text: await found.Body!.transformToString(), etag: found.ETag! }
    },
    /** Writes an object to a file. @returns its ETag; `null`: it does not exist */
    async download (key: string, path: string): Promise<string | null> {
      const found = await get(key, limits.planBytesMax)
      if (found === null) return null
      await pipeline(found.Body as Readable, createWriteStream(path), { signal })
      return found.ETag!
    },
    /** Objects whose keys begin with `start`, in the order of their keys. @param atOnce - objects per request */
    async * list (start: string, atOnce = 1000): AsyncGenerator<StoredObject> {
      let ContinuationToken: string | undefined
      do {
        const page = await client.send(new library.ListObjectsV2Command({
          Bucket, Prefix: prefix + start, MaxKeys: atOnce, ...ContinuationToken === undefined ? {} : { ContinuationToken }
        }), within())
        for (const { Key, Size, ETag, LastModified } of page.Contents ?? []) {
          yield { key: Key!.slice(prefix.length), bytes: Size!, etag: ETag!, modifiedMs: LastModified!.getTime() }
        }
        ContinuationToken = page.NextContinuationToken
      } while (ContinuationToken !== undefined)
    },
    remove,
    /**
     * Checks that the store enforces conditions of writes, because a lake depends on them.
     * @throws `ConfigError` if it does not; errors of the client if it does not answer
     */
    async check (): Promise<void> {
      const key = `_check/${randomUUID()}`
      try {
        await put(key, 'one', { IfNoneMatch: '*' })
        refuse('If-None-Match: *', await toOutcome(() => put(key, 'two', { IfNoneMatch: '*' })))
        refuse('If-Match', await toOutcome(() => put(key, 'three', { IfMatch: '"00000000000000000000000000000000"' })))
      } finally {
        await remove(key).catch(() => {})
      }
    },
    /** Whether the store refuses requests that were signed a day ago, as S3 does, so that late writes cannot arrive. */
    async refusesOld (): Promise<boolean> {
      const key = `_check/${randomUUID()}`
      const old = await createClient(library, { systemClockOffset: client.config.systemClockOffset - OLD_MS })
      try {
        const command = new library.PutObjectCommand({ Bucket, Key: prefix + key, Body: '' })
        return await toOutcome(() => old.send(command, within())) === 403
      } finally {
        old.destroy()
        await remove(key).catch(() => {})
      }
    },
    close (): void { client.destroy() }
  }
}

/** A write was not sent, because its time was over. */
class LateError extends Error {
  override readonly name = 'TimeoutError'
}

export type ObjectStore = Awaited<ReturnType<typeof createObjectStore>>

/** The client finds credentials, TLS and the endpoint (`AWS_ENDPOINT_URL_S3`) as every program of AWS does. */
async function createClient (library: S3Library, clock: { readonly systemClockOffset?: number } = {}): Promise<S3Client> {
  const options = {
    ...clock,
    // Every self-hosted store supports this form of URLs.
    forcePathStyle: true,
    maxAttempts: 1,
    // Other stores refuse the trailers in which the client would send checksums.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED'
  } as const
  const client = new library.S3Client(options)
  try {
    await client.config.region()
    return client
  } catch {
    client.destroy()
    return new library.S3Client({ ...options, region: REGION })
  }
}

async function toOutcome (request: () => Promise<unknown>): Promise<number> {
  try {
    await request()
    return 200
  } catch (error) {
    const status = toStatus(error)
    if (status === undefined) throw error
    return status
  }
}

function refuse (condition: string, status: number): void {
  if (status === PRECONDITION_FAILED) return
  throw new ConfigError(`The store of VITAL_LAKE_URL does not keep ${condition}: it answers ${status}, where S3 answers ` +
    `${PRECONDITION_FAILED}. A lake on it would hold readings twice, or lose some. Use another store, or a newer version of it.`)
}

function toStatus (error: unknown): number | undefined {
  return (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode
}

/** The message of an error of the store. */
export function toStoreMessage (error: unknown): string {
  const { name, message, code } = error as Error & { readonly code?: string }
  const status = toStatus(error)
  const inner = (error as { errors?: unknown[] }).errors?.[0]
  if (message === '' && inner !== undefined) return toStoreMessage(inner)
  return [status, name === 'Error' ? code : name, message].filter((part) => part !== undefined && part !== '').join(' ')
}

/** Whether the store or the network is at fault. Any other error is a defect. */
export function isStoreError (error: unknown): boolean {
  const { name, code, $fault } = error as { name?: string, code?: string, $fault?: string }
  return $fault !== undefined || code !== undefined ||
    ['CredentialsProviderError', 'TimeoutError', 'AbortError'].includes(name ?? '')
}
