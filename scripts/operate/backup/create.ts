/**
 * A backup of a data directory: the embedded PostgreSQL, the spool, the record of erasures, while traffic flows.
 *
 *   slot, checkpoint ──> files of the cluster ──> erasures ──> spool ──> backup stops, log ──> manifest ──> rename
 *                                                          └── "holdsAllBefore"         └── state of the database
 *
 * Two stores hold acknowledged readings, which move from one to the other, so the order of copying matters. A reading
 * that was acknowledged before the copy of the spool begins (P) had been made durable in one of them by then.
 *
 *   - In PostgreSQL: its COMMIT lies before the end of the backup (E), which is later than P. Recovery reads the log up
 *     to E.
 *   - In the spool: it leaves the spool only after its COMMIT (replayer.ts: write, then release). If it is committed by
 *     E it is in the database's part. If not, it lies in a segment all the time from P to E, in the part of the file
 *     that is durable at P, and segments are listed and read between P and E. A segment that vanishes meanwhile held
 *     only readings that were committed.
 *
 * So the spool is copied after P and before E, and no instant is left between them. The other order loses readings:
 * after E a segment may be gone whose readings were committed after E. Readings in both stores are replayed and found
 * stored, because replay is idempotent. The read position of the spool may be of any instant before E: readings that
 * it has passed were committed. The tail of a segment that is being written looks as after a crash, and is cut off
 * likewise: none of it was acknowledged.
 *
 * The journal of erasures is read before P: an erasure that is done in it had drained the spool and deleted the rows
 * before P, so neither store brings the device back. All others are done again by a restore
 * (src/operations/erasure-journal.ts).
 *
 * Files of the cluster are copied while they change. After the first checkpoint PostgreSQL's log has every changed page
 * whole (full_page_writes, which a backup forces), so recovery mends torn pages; files that vanish were dropped.
 */
import { access, mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve } from 'node:path'
import {
  type BaseBackup, type BackupEnd, countDeleted, countRows, startBaseBackup
} from '../../../db/embedded/base-backup.ts'
import { CONTROL_FILE, type ClusterFiles, listClusterFiles } from '../../../db/embedded/cluster-files.ts'
import { StorageError } from '../../../db/storage-error.ts'
import packageJson from '../../../package.json' with { type: 'json' }
import type { Config } from '../../../src/config/config.ts'
import { lockDirectory } from '../../../src/ingest/journal/spool/directory-lock.ts'
import { ERASED_FILE } from '../../../src/ingest/journal/spool/erased-devices.ts'
import { CURSOR_NAME, parseSegmentName } from '../../../src/ingest/journal/spool/format.ts'
import { SpoolError } from '../../../src/ingest/journal/spool/spool-error.ts'
import { ERASURES_FILE, readErasures } from '../../../src/operations/erasure-journal.ts'
import { OperatorError, usageError } from '../../command-line/operator-error.ts'
import type { Print, ProgressStream } from '../../command-line/surroundings.ts'
import { type CopiedFile, Copier, emptyLocked, syncDirectory } from './copy.ts'
import { formatManifest, MANIFEST_FILE, type Manifest } from './manifest.ts'
import { withServer } from './server.ts'
import { createByteProgress } from './byte-progress.ts'
import { assertSpace } from './space.ts'

/** Room for the log that is written meanwhile. */
const LOG_RESERVE_BYTES = 256 * 1024 * 1024
/** Whether credentials exist, and the key of hashed ids in the log. */
const SMALL_FILES = ['access.json', 'log-key'] as const

export interface BackupOptions {
  readonly config: Config
  readonly to: string
  readonly tell: Print
  readonly progress: ProgressStream
  readonly signal: AbortSignal
  /** Called before each store is read, so that a test can lengthen the time between them. */
  readonly onStep?: (step: 'spool' | 'end') => Promise<void>
}

/**
 * Takes a backup, of a gateway that runs or of one that is stopped.
 * @returns once the directory has its name, durably
 * @throws `OPERATOR_USAGE`, `OPERATOR_FAILED`; nothing that looks like a backup is left then
 */
export async function createBackup (options: BackupOptions): Promise<Omit<Manifest, 'format'>> {
  const { config, tell } = options
  const to = resolve(options.to)
  if (config.databaseUrl !== null) {
    throw new OperatorError('OPERATOR_FAILED',
      'DATABASE_URL is set, and this command backs up only the embedded PostgreSQL. scripts/operate/README.md tells ' +
      'which tool to use for your own.')
  }
  if (!relative(config.dataDir, to).startsWith('..')) {
    throw usageError(`${to} is in the data directory, and would be lost with it: name another place`)
  }
  if (await access(to).then(() => true, () => false)) {
    throw usageError(`${to} exists already: name a new directory`)
  }
  return await withServer({ config, tell }, async (connectionString) => {
    const { partial, unlock } = await takePartial(to)
    try {
      const manifest = await fill(partial, connectionString, options)
      await unlock()
      await rename(partial, to)
      await syncDirectory(dirname(to))
      return manifest
    } catch (cause) {
      await unlock()
      await rm(partial, { recursive: true, force: true })
      throw toFailure(cause, options.signal)
    }
  })
}

/** The directory under its temporary name, without the files that a killed tool left there. */
async function takePartial (to: string) {
  const partial = join(dirname(to), `${basename(to)}.partial`)
  try {
    await mkdir(partial, { recursive: true, mode: 0o700 })
    const unlock = await lockDirectory(partial)
    await emptyLocked(partial)
    return { partial, unlock }
  } catch (cause) {
    const isTaken = cause instanceof SpoolError && cause.code === 'VITAL_SPOOL_IN_USE'
    throw new OperatorError('OPERATOR_FAILED', isTaken
      ? `another backup is being written to ${partial}`
      : `${partial} cannot be made: ${(cause as Error).message}`, { cause })
  }
}

function toFailure (cause: unknown, signal: AbortSignal): unknown {
  if (cause instanceof OperatorError) return cause
  if (signal.aborted) {
    return new OperatorError('OPERATOR_FAILED',
      'ended before the backup was whole; nothing of it is left', { cause })
  }
  const { code, message } = cause as NodeJS.ErrnoException
  if (code === undefined && !(cause instanceof StorageError)) return cause
  return new OperatorError('OPERATOR_FAILED', `the backup failed, and nothing of it is left: ${message}`, { cause })
}

async function fill (
  partial: string, connectionString: string, { config, signal, progress: stream, onStep }: BackupOptions
): Promise<Omit<Manifest, 'format'>> {
  const clusterDir = join(config.dataDir, 'postgres')
  const listed = await listClusterFiles(clusterDir)
  const totalBytes = await measure(clusterDir, listed.files) + await measureSpool(config.dataDir)
  await assertSpace(partial, totalBytes + LOG_RESERVE_BYTES)
  const progress = createByteProgress('backup', totalBytes, stream)
  const copier = new Copier({ signal, onBytes: progress.add })
  const begunAt = new Date().toISOString()
  // Before the log is held: on a large database this takes minutes.
  const counts = await countRows(connectionString)
  const backup = await startBaseBackup({ connectionString, clusterDir, label: `vital-gateway ${begunAt}` })
  try {
    const { files, directories } = await copyCluster(copier, partial, clusterDir, backup)
    await onStep?.('spool')
    const { spool, small, holdsAllBefore } = await copyRest(copier, partial, config.dataDir)
    await onStep?.('end')
    const end = await backup.stop()
    const log = await copyLog(copier, partial, clusterDir, end)
    const manifest = {
      gatewayVersion: packageJson.version,
      postgres: { version: backup.version, major: backup.major, startLsn: end.startLsn, stopLsn: end.stopLsn },
      begunAt,
      holdsAllBefore,
      endedAt: new Date().toISOString(),
      counts,
      deletedMeanwhile: await countDeleted(connectionString) - counts.deleted,
      directories: [...directories, 'spool'],
      files: [...files, ...spool, ...small, ...log]
    }
    await copier.write(partial, MANIFEST_FILE, formatManifest(manifest))
    await copier.syncDirectories()
    return manifest
  } finally {
    progress.stop()
    await backup.close()
  }
}

async function copyCluster (copier: Copier, partial: string, clusterDir: string, backup: BaseBackup) {
  // Listed again, because the checkpoint may have made some; files that are made from now on are in the log.
  const { directories, files } = await listClusterFiles(clusterDir)
  const copied: CopiedFile[] = []
  const toPath = (path: string) => `postgres/${path}`
  for (const path of directories) await copier.makeDirectory(partial, toPath(path))
  for (const path of files) {
    backup.assertAlive()
    const file = await copier.copy(join(clusterDir, path), partial, toPath(path))
    if (file !== null) copied.push(file)
  }
  copied.push(await copier.copyStable(join(clusterDir, CONTROL_FILE), partial, toPath(CONTROL_FILE)))
  return { files: copied, directories: ['postgres', ...directories.map(toPath)] }
}

/** The files beside the cluster; the journal of erasures before the spool, for the reason at the head of this file. */
async function copyRest (copier: Copier, partial: string, dataDir: string) {
  const small: CopiedFile[] = []
  for (const name of SMALL_FILES) {
    const file = await copier.copy(join(dataDir, name), partial, name)
    if (file !== null) small.push(file)
  }
  const erasures = await readErasures(join(dataDir, ERASURES_FILE))
  small.push(await copier.write(partial, ERASURES_FILE, erasures.map((line) => `${line}\n`).join('')))

  const holdsAllBefore = new Date().toISOString()
  const directory = join(dataDir, 'spool')
  await copier.makeDirectory(partial, 'spool')
  const spool: CopiedFile[] = []
  const names = (await readdir(directory)).filter((name) => parseSegmentName(name) !== null).sort()
  for (const name of [...names, CURSOR_NAME, ERASED_FILE]) {
    const file = await copier.copy(join(directory, name), partial, `spool/${name}`)
    if (file !== null) spool.push(file)
  }
  return { small, spool, holdsAllBefore }
}

async function copyLog (copier: Copier, partial: string, clusterDir: string, end: BackupEnd): Promise<CopiedFile[]> {
  const files = [await copier.write(partial, 'postgres/backup_label', end.label)]
  for (const name of end.walFiles) {
    const path = join(clusterDir, 'pg_wal', name)
    const file = await copier.copy(path, partial, `postgres/pg_wal/${name}`)
    if (file === null) {
      throw new StorageError('VITAL_BACKUP_FAILED',
        `PostgreSQL removed ${path} while it was held for the backup`)
    }
    files.push(file)
  }
  return files
}

async function measure (directory: string, files: ClusterFiles['files']): Promise<number> {
  let bytes = 0
  for (const path of files) bytes += await stat(join(directory, path)).then(({ size }) => size, () => 0)
  return bytes
}

async function measureSpool (dataDir: string): Promise<number> {
  const directory = join(dataDir, 'spool')
  return await measure(directory, await readdir(directory))
}
