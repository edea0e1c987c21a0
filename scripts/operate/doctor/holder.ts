import { join } from 'node:path'
import { findHolder } from '../../../src/ingest/journal/spool/directory-lock.ts'

/** The gateway, or a command in its place, that holds a data directory. */
export interface Holder {
  /** `null`: its lock does not name it. */
  readonly pid: number | null
}

/** @returns `null` when no process holds it, or no spool exists */
export async function findDirectoryHolder (dataDir: string): Promise<Holder | null> {
  return await findHolder(join(dataDir, 'spool')).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR' || error.code === 'EACCES') return null
    throw error
  })
}
