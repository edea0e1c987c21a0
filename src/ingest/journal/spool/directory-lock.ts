/**
 * One process per directory. Node offers no flock, and a file that names a process does not prove that it still runs:
 * ids are reused, and in another container the same id means another process (each gateway is process 1 of its own). A
 * Unix socket is reliable: it answers exactly as long as a process listens on it, in any namespace, and kill -9 ends
 * it. The steps:
 *
 *   1. Listen on a socket in the directory, under a name that is never reused.
 *   2. Connect to every other socket there. If one answers, another process holds the directory or tries to take it.
 *      Close the own socket and retry after a random time; after some tries, give up. A socket that does not answer
 *      was left by a dead process. Remove it.
 *   3. If no socket answered and the own socket is still there, this process holds the directory.
 *
 * If two processes try at once, the one that listened later finds the other in step 2, so at most one succeeds. Names
 * are never reused, so a process cannot remove the socket of a successor by mistake. A socket that is bound but does
 * not listen yet may be removed as dead. Its owner notices in step 3 that its socket is gone.
 */
import { randomBytes } from 'node:crypto'
import { access, type FileHandle, open, readdir, rm, stat } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { SpoolError } from './spool-error.ts'

const LOCK_NAME = /^lock\.(\d+)\.[0-9a-f]{16}$/
const ATTEMPTS_MAX = 6
const PAUSE_MIN_MS = 20
const PAUSE_MAX_MS = 150

/** sun_path holds 108 bytes on Linux and 104 on macOS, the last one a zero. */
const SOCKET_PATH_BYTES_MAX = 103

/** Errors of a file system that cannot hold a socket: it is full, or its type does not support sockets. */
const NO_SOCKET_CODES: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'])

/**
 * Locks a directory for this process until it unlocks it or ends in any way.
 * @returns a function that unlocks the directory
 * @throws `VITAL_SPOOL_IN_USE`
 */
export async function lockDirectory (directory: string): Promise<() => Promise<void>> {
  const route = await openRoute(directory)
  let holder = 'another process'
  try {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      if (attempt > 0) await sleep(PAUSE_MIN_MS + Math.random() * (PAUSE_MAX_MS - PAUSE_MIN_MS))
      const own = `lock.${process.pid}.${randomBytes(8).toString('hex')}`
      const server = await listenIn(route.path, own, directory)
      if (server === null) continue
      const other = await findOther(route.path, own)
      if (other === null && (server.isAbstract || await isThere(join(route.path, own)))) {
        return async () => {
          await server.close()
          await route.close()
        }
      }
      holder = other ?? holder
      await server.close()
    }
  } catch (error) {
    await route.close()
    throw error
  }
  await route.close()
  throw new SpoolError('VITAL_SPOOL_IN_USE',
    `the spool in ${directory} is in use by ${holder}: stop that gateway, or set VITAL_DATA_DIR to another directory`)
}

/** @returns the other process that holds the directory; removes the sockets of dead processes */
async function findOther (directory: string, own: string): Promise<string | null> {
  let other: string | null = null
  for (const name of await readdir(directory)) {
    const match = LOCK_NAME.exec(name)
    if (match === null || name === own) continue
    if (await isAnswered(join(directory, name))) other = `process ${match[1]}`
    else await rm(join(directory, name), { force: true })
  }
  return other
}

/** A full accept queue (EAGAIN) or a missing permission shows that a process listens. */
function isAnswered (path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code !== 'ECONNREFUSED' && code !== 'ENOENT'))
  })
}

interface Listening {
  readonly isAbstract: boolean
  readonly close: () => Promise<void>
}

/**
 * A full disk must not keep the gateway from starting, because the readings that it would replay may fill the disk.
 * Linux has abstract sockets without a file. Only processes of the same network namespace find them.
 * @returns `null` when the name is in use
 */
async function listenIn (path: string, name: string, directory: string): Promise<Listening | null> {
  try {
    return await listen(join(path, name), false)
  } catch (error) {
    if (process.platform !== 'linux' || !NO_SOCKET_CODES.has((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
  const { dev, ino } = await stat(directory)
  try {
    return await listen(`\0vital-spool-${dev}-${ino}`, true)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return null
    throw error
  }
}

async function listen (path: string, isAbstract: boolean): Promise<Listening> {
  const server: Server = createServer((socket) => { socket.destroy() }).unref()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  return { isAbstract, close: () => new Promise((resolve) => { server.close(() => { resolve() }) }) }
}

/** A path to the directory that is short enough for the address of a socket. */
async function openRoute (directory: string): Promise<{ path: string, close: () => Promise<void> }> {
  const longest = Buffer.byteLength(join(directory, `lock.${process.pid}.0123456789abcdef`))
  if (process.platform !== 'linux' || longest <= SOCKET_PATH_BYTES_MAX) {
    return { path: directory, close: async () => {} }
  }
  const handle: FileHandle = await open(directory, 'r')
  return { path: `/proc/self/fd/${handle.fd}`, close: () => handle.close() }
}

async function isThere (path: string): Promise<boolean> {
  return await access(path).then(() => true, () => false)
}

/**
 * Finds the process that holds a directory, without locking or removing anything.
 * @returns `pid` is `null` if the holder's lock has no file; `null`: no process holds the directory
 * @throws the file system's error when the directory cannot be read
 */
export async function findHolder (directory: string): Promise<{ readonly pid: number | null } | null> {
  const route = await openRoute(directory)
  try {
    for (const name of await readdir(route.path)) {
      const match = LOCK_NAME.exec(name)
      if (match !== null && await isAnswered(join(route.path, name))) return { pid: Number(match[1]) }
    }
  } finally {
    await route.close()
  }
  if (process.platform !== 'linux') return null
  const { dev, ino } = await stat(directory)
  return await isAnswered(`\0vital-spool-${dev}-${ino}`) ? { pid: null } : null
}
