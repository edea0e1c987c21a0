import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { StorageError } from '../storage-error.ts'

/**
 * Directories that are copied without their content: a starting server makes it anew, or it is copied apart (`pg_wal`).
 * They are those that pg_basebackup empties, and the server's own log.
 */
const EMPTIED: ReadonlySet<string> = new Set([
  'pg_wal', 'pg_replslot', 'pg_dynshmem', 'pg_notify', 'pg_serial', 'pg_snapshots', 'pg_stat_tmp', 'pg_subtrans', 'log'
])
const LEFT_OUT: ReadonlySet<string> = new Set([
  'postmaster.pid', 'postmaster.opts', 'current_logfiles',
  'backup_label', 'backup_label.old', 'tablespace_map', 'tablespace_map.old', 'backup_manifest',
  'recovery.signal', 'standby.signal'
])
/** Temporary files and relations, drafts, caches that are made anew. */
const LEFT_OUT_ANYWHERE = /^(?:pgsql_tmp.*|t\d+_\d+(?:_\w+)?(?:\.\d+)?|pg_internal\.init.*|.*\.tmp|.*\.new)$/

/** PostgreSQL writes it in place, and all else depends on it; copied last, when two reads agree. */
export const CONTROL_FILE = 'global/pg_control'

/** Files of a cluster that a copy needs, as paths inside of it; files appear and disappear meanwhile. */
export interface ClusterFiles {
  /** Parents first. */
  readonly directories: readonly string[]
  /** Without {@link CONTROL_FILE}. */
  readonly files: readonly string[]
}

/** @throws `VITAL_BACKUP_FAILED` for a link, which would lead out of the copy */
export async function listClusterFiles (clusterDir: string): Promise<ClusterFiles> {
  const directories: string[] = []
  const files: string[] = []
  const visit = async (inside: string): Promise<void> => {
    for (const entry of await list(join(clusterDir, inside))) {
      const path = inside === '' ? entry.name : `${inside}/${entry.name}`
      if (LEFT_OUT_ANYWHERE.test(entry.name) || LEFT_OUT.has(path)) continue
      // pg_wal may be a link to another disk.
      if (EMPTIED.has(path)) directories.push(path)
      else if (entry.isDirectory()) {
        directories.push(path)
        await visit(path)
      } else if (entry.isFile()) {
        if (path !== CONTROL_FILE) files.push(path)
      } else {
        throw new StorageError('VITAL_BACKUP_FAILED',
          `${join(clusterDir, path)} is neither a file nor a directory, and this backup cannot hold it`)
      }
    }
  }
  await visit('')
  return { directories, files }
}

/** A directory of a database that was dropped meanwhile is gone. */
async function list (directory: string) {
  try {
    return await readdir(directory, { withFileTypes: true })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
