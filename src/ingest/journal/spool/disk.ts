import { chmod, open, readdir, rename, stat, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { makeDirectory } from '../../../process/make-directory.ts'
import { lockDirectory } from './directory-lock.ts'

/** An open file. Offsets and lengths are bytes. */
export interface DiskFile {
  /** Writes all of the buffers, one after the other, from `offset` on. */
  write: (buffers: readonly Buffer[], offset: number) => Promise<void>
  /** @returns bytes read; fewer than the buffer holds only at the end of the file */
  read: (into: Buffer, offset: number) => Promise<number>
  /** Settles when everything written, and the file's length, is on stable storage. */
  sync: () => Promise<void>
  close: () => Promise<void>
}

/**
 * All disk operations of the spool. Through this interface a simulation can lose, tear and flip data, as a real disk
 * rarely does. Operations reject with the system's errors.
 */
export interface Disk {
  /** Creates a directory that only its owner may access, durably, unless it exists. */
  makeDirectory: (directory: string) => Promise<void>
  /** @throws `VITAL_SPOOL_IN_USE` while another process, or this one, holds it */
  lock: (directory: string) => Promise<() => Promise<void>>
  /** Names of the entries of a directory, unordered. */
  list: (directory: string) => Promise<string[]>
  /** Creates a file that only its owner may access; rejects with `EEXIST` if it exists. */
  create: (path: string) => Promise<DiskFile>
  openToRead: (path: string) => Promise<DiskFile>
  size: (path: string) => Promise<number>
  /** Cuts a file short, durably. */
  truncate: (path: string, bytes: number) => Promise<void>
  rename: (from: string, to: string) => Promise<void>
  unlink: (path: string) => Promise<void>
  /** Settles when creations, renames and unlinks in the directory are on stable storage. */
  syncDirectory: (directory: string) => Promise<void>
}

/** The file system of this machine. */
export const realDisk: Disk = {
  async makeDirectory (directory) {
    const created = makeDirectory(directory)
    if (created === null) await chmod(directory, 0o700)
    else await syncDirectory(dirname(created))
  },
  lock: lockDirectory,
  list: (directory) => readdir(directory),
  create: (path) => openFile(path, 'wx'),
  openToRead: (path) => openFile(path, 'r'),
  size: async (path) => (await stat(path)).size,
  async truncate (path, bytes) {
    const handle = await open(path, 'r+')
    try {
      await handle.truncate(bytes)
      await handle.datasync()
    } finally {
      await handle.close()
    }
  },
  rename,
  unlink,
  syncDirectory
}

async function openFile (path: string, flags: 'wx' | 'r'): Promise<DiskFile> {
  const handle = await open(path, flags, 0o600)
  return {
    async write (buffers, offset) {
      let { bytesWritten } = await handle.writev(buffers, offset)
      const length = buffers.reduce((sum, buffer) => sum + buffer.length, 0)
      if (bytesWritten === length) return
      // A write ends early when the disk is full; the next write reports it.
      const rest = Buffer.concat(buffers)
      while (bytesWritten < length) {
        bytesWritten += (await handle.write(rest, bytesWritten, length - bytesWritten, offset +
          bytesWritten)).bytesWritten
      }
    },
    async read (into, offset) {
      let done = 0
      while (done < into.length) {
        const { bytesRead } = await handle.read(into, done, into.length - done, offset + done)
        if (bytesRead === 0) break
        done += bytesRead
      }
      return done
    },
    sync: () => handle.datasync(),
    close: () => handle.close()
  }
}

async function syncDirectory (directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
