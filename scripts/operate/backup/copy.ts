import { createHash } from 'node:crypto'
import { type FileHandle, mkdir, open, readdir, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const CHUNK_BYTES = 1024 * 1024
/** Otherwise a gigabyte that waits for the disk would delay the fdatasync of every acknowledgement. */
const SYNC_EVERY_BYTES = 16 * 1024 * 1024
const STABLE_ATTEMPTS_MAX = 100
const STABLE_PAUSE_MS = 10

/** A file that was copied. */
export interface CopiedFile {
  /** Inside of the backup, with `/`. */
  readonly path: string
  readonly bytes: number
  readonly sha256: string
}

/** Copies files durably, readable by their owner alone. */
export class Copier {
  readonly #signal: AbortSignal | undefined
  readonly #onBytes: (bytes: number) => void
  readonly #directories = new Set<string>()

  constructor (options: { readonly onBytes?: (bytes: number) => void, readonly signal?: AbortSignal | undefined }) {
    this.#onBytes = options.onBytes ?? (() => {})
    this.#signal = options.signal
  }

  /**
   * Copies the bytes that the file has when it is opened; later ones are left out, so that the copy ends.
   * @returns `null` when it is gone
   */
  async copy (from: string, root: string, path: string): Promise<CopiedFile | null> {
    let source: FileHandle
    try {
      source = await open(from, 'r')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
      throw error
    }
    try {
      const { size } = await source.stat()
      return await this.#write(root, path, async function * () {
        const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, Math.max(1, size)))
        for (let at = 0; at < size;) {
          const { bytesRead } = await source.read(chunk, 0, Math.min(chunk.length, size - at), at)
          // The file has become shorter since.
          if (bytesRead === 0) return
          at += bytesRead
          yield chunk.subarray(0, bytesRead)
        }
      })
    } finally {
      await source.close()
    }
  }

  /** Copies a small file that is written in place, once two reads in a row agree. */
  async copyStable (from: string, root: string, path: string): Promise<CopiedFile> {
    let before = Buffer.alloc(0)
    for (let attempt = 0; attempt < STABLE_ATTEMPTS_MAX; attempt++) {
      const file = await open(from, 'r')
      const content = await file.readFile().finally(() => file.close())
      if (attempt > 0 && before.equals(content)) return await this.write(root, path, content)
      before = content
      await sleep(STABLE_PAUSE_MS)
    }
    throw new Error(`${from} changes all the time`)
  }

  async write (root: string, path: string, content: Buffer | string): Promise<CopiedFile> {
    return await this.#write(root, path, async function * () { yield Buffer.from(content) })
  }

  async makeDirectory (root: string, path: string): Promise<void> {
    const directory = join(root, path)
    await mkdir(directory, { recursive: true, mode: 0o700 })
    for (let at = directory; at.length >= root.length; at = dirname(at)) this.#directories.add(at)
  }

  /** Settles when every file and directory that was made is on stable storage. */
  async syncDirectories (): Promise<void> {
    for (const directory of this.#directories) await syncDirectory(directory)
  }

  async #write (root: string, path: string, read: () => AsyncGenerator<Buffer>): Promise<CopiedFile> {
    await this.makeDirectory(root, dirname(path))
    const hash = createHash('sha256')
    const target = await open(join(root, path), 'wx', 0o600)
    try {
      let bytes = 0
      let unsynced = 0
      for await (const chunk of read()) {
        this.#signal?.throwIfAborted()
        hash.update(chunk)
        // Because write() may write less.
        await target.writeFile(chunk)
        bytes += chunk.length
        unsynced += chunk.length
        this.#onBytes(chunk.length)
        if (unsynced < SYNC_EVERY_BYTES) continue
        await target.datasync()
        unsynced = 0
      }
      await target.sync()
      return { path, bytes, sha256: hash.digest('hex') }
    } finally {
      await target.close()
    }
  }
}

/** Reads a file to its end. @returns `null` when it is gone */
export async function hashFile (
  path: string, onBytes: (bytes: number) => void
): Promise<{ bytes: number, sha256: string } | null> {
  let file: FileHandle
  try {
    file = await open(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
  try {
    const hash = createHash('sha256')
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES)
    let bytes = 0
    for (;;) {
      const { bytesRead } = await file.read(chunk, 0, chunk.length, bytes)
      if (bytesRead === 0) return { bytes, sha256: hash.digest('hex') }
      hash.update(chunk.subarray(0, bytesRead))
      bytes += bytesRead
      onBytes(bytesRead)
    }
  } finally {
    await file.close()
  }
}

/** Removes everything from a directory but the lock of the process that holds it. */
export async function emptyLocked (directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!name.startsWith('lock.')) await rm(join(directory, name), { recursive: true, force: true })
  }
}

export async function syncDirectory (path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
