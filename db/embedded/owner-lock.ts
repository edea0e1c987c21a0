import { link, readFile, rm, writeFile } from 'node:fs/promises'
import { StorageError } from '../storage-error.ts'
import { identifyProcess, type ProcessIdentity } from './server-process.ts'

/**
 * One gateway at a time runs the server of a data directory: a second one would adopt it as an orphan, and stop it.
 * The lock is a file that names a process, because Node offers no lock of the system that ends with its process.
 * @returns a function that releases the directory
 * @throws `VITAL_EMBEDDED_IN_USE`
 */
export async function lockOwner ({ path, dataDir }: { path: string, dataDir: string }): Promise<() => Promise<void>> {
  const self = await identifyProcess(process.pid)
  const draft = `${path}.${process.pid}`
  await writeFile(draft, JSON.stringify(self), { mode: 0o600 })
  try {
    for (let attempt = 0; attempt < 10; attempt++) {
      try {
        // Unlike a write, a link appears with its content, and fails when another was first.
        await link(draft, path)
        return async () => { await rm(path, { force: true }) }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
      const owner = await readOwner(path)
      const running = owner === null ? null : await identifyProcess(owner.pid)
      if (running !== null && running.startedAt === owner?.startedAt) {
        throw new StorageError('VITAL_EMBEDDED_IN_USE',
          `Process ${running.pid} already runs the embedded PostgreSQL of ${dataDir}. ` +
          'Stop that gateway, or set VITAL_DATA_DIR to another directory.')
      }
      await rm(path, { force: true })
    }
    throw new StorageError('VITAL_EMBEDDED_IN_USE',
      `${path} was taken by others again and again. Let only one gateway at a time start in ${dataDir}.`)
  } finally {
    await rm(draft, { force: true })
  }
}

async function readOwner (path: string): Promise<ProcessIdentity | null> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as ProcessIdentity
  } catch (error) {
    // Unreadable: written by a machine that lost power.
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}
