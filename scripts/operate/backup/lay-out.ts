import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import { countRows, type RowCounts, sumReadings } from '../../../db/embedded/base-backup.ts'
import { adoptFiles } from '../../../db/embedded/restored-cluster.ts'
import { StorageError } from '../../../db/storage-error.ts'
import { realDisk } from '../../../src/ingest/journal/spool/disk.ts'
import { openSpool } from '../../../src/ingest/journal/spool/spool.ts'
import { OperatorError } from '../../command-line/operator-error.ts'
import type { ProgressStream } from '../../command-line/surroundings.ts'
import { createByteProgress } from './byte-progress.ts'
import { Copier } from './copy.ts'
import { type Manifest, toBytes } from './manifest.ts'
import { withEmbedded } from './server.ts'

const logger = pino({ level: 'silent' })
/** Nothing is appended here. */
const SEGMENT_BYTES = 64 * 1024 * 1024

/** Counts of a backup that was recovered. */
export interface Recovered {
  readonly readings: number
  readonly latest: number
  readonly deadLetters: number
  /** In the spool: some of them may be in `readings` too. */
  readonly spooled: number
  /** Rows that were there when the backup began, and whose absence nothing explains. */
  readonly missing: number
}

/**
 * Makes a data directory from a backup, durably, and compares each file with the manifest.
 * @param dataDir - an empty directory
 * @throws `OPERATOR_FAILED` when a file is missing or differs, or PostgreSQL cannot use them here
 */
export async function layOut ({ from, manifest, dataDir, progress: stream, signal }: {
  readonly from: string
  readonly manifest: Manifest
  readonly dataDir: string
  readonly progress: ProgressStream
  readonly signal: AbortSignal
}): Promise<void> {
  const progress = createByteProgress('restore', toBytes(manifest), stream)
  const copier = new Copier({ signal, onBytes: progress.add })
  try {
    for (const path of manifest.directories) await copier.makeDirectory(dataDir, assertInside(path))
    for (const { path, bytes, sha256 } of manifest.files) {
      const file = await copier.copy(join(from, assertInside(path)), dataDir, path)
      if (file === null) {
        throw new OperatorError('OPERATOR_FAILED',
          `${join(from, path)} is missing: the backup is not whole.`)
      }
      if (file.bytes !== bytes || file.sha256 !== sha256) {
        throw new OperatorError('OPERATOR_FAILED',
          `${join(from, path)} is damaged: its checksum does not match.`)
      }
    }
    await copier.syncDirectories()
    await adoptFiles({ dataDir, major: manifest.postgres.major, logger })
  } catch (cause) {
    throw cause instanceof StorageError ? new OperatorError('OPERATOR_FAILED', cause.message, { cause }) : cause
  } finally {
    progress.stop()
  }
}

/** An untrusted manifest must not write elsewhere. */
function assertInside (path: string): string {
  if (path.startsWith('/') || path.split('/').includes('..')) {
    throw new OperatorError('OPERATOR_FAILED',
      `the manifest names ${path}, which is outside the backup`)
  }
  return path
}

/** Starts PostgreSQL on a directory that was laid out, which recovers it; counts rows, and stops it again. */
export async function recover (dataDir: string, manifest: Manifest): Promise<Recovered> {
  const { counts, spooled } = { counts: await withEmbedded(dataDir, countRows), spooled: await countSpooled(dataDir) }
  return {
    readings: sumReadings(counts),
    latest: counts.latest,
    deadLetters: counts.deadLetters,
    spooled,
    missing: Math.max(0, toMissing(manifest.counts, counts) - manifest.deletedMeanwhile)
  }
}

/** A month that is gone was dropped by retention, or by hand, so its rows are not missing. */
function toMissing (before: RowCounts, after: RowCounts): number {
  const lack = (was: number, is: number | undefined) => Math.max(0, was - (is ?? was))
  return Object.entries(before.readings).reduce((sum, [name, rows]) => sum + lack(rows, after.readings[name]), 0) +
    lack(before.latest, after.latest) + lack(before.deadLetters, after.deadLetters)
}

async function countSpooled (dataDir: string): Promise<number> {
  const directory = join(dataDir, 'spool')
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const spool = await openSpool({ directory, bytesMax: Infinity, segmentBytes: SEGMENT_BYTES, disk: realDisk, logger })
  try {
    return spool.readings
  } finally {
    await spool.close()
  }
}
