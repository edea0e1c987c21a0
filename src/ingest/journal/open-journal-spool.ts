import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Config } from '../../config/config.ts'
import { type Disk, realDisk } from './spool/disk.ts'
import { type KeptSegments, KEPT_DIRECTORY, openKeptSegments } from './spool/kept-segments.ts'
import { openSpool, type Spool } from './spool/spool.ts'

/** Share of VITAL_SPOOL_BYTES_MAX for kept segments. */
const KEPT_SHARE = 0.25

interface JournalSpoolOptions {
  readonly config: Pick<Config, 'journal' | 'spoolBytesMax' | 'spoolKeepMs'>
  readonly directory: string
  readonly disk?: Disk | undefined
  readonly logger: Logger
}

/**
 * Opens the spool of a configuration, and its kept segments; `kept` is `null` if replayed segments are not kept.
 * @throws as {@link openSpool}
 */
export async function openJournalSpool (
  { config, directory, disk = realDisk, logger }: JournalSpoolOptions
): Promise<{ readonly spool: Spool, readonly kept: KeptSegments | null }> {
  const { spoolBytesMax: bytesMax } = config
  const context = { directory, disk, logger }
  if (config.journal.ackAfter !== 'spool' || config.spoolKeepMs === 0) {
    const spool = await openSpool({ ...context, bytesMax })
    // Left by an earlier configuration; all of it is in Kafka.
    await rm(join(directory, KEPT_DIRECTORY), { recursive: true, force: true })
    return { spool, kept: null }
  }
  const keptBytesMax = Math.floor(bytesMax * KEPT_SHARE)
  const kept = await openKeptSegments({ ...context, bytesMax: keptBytesMax })
  return { spool: await openSpool({ ...context, bytesMax: bytesMax - keptBytesMax, kept }), kept }
}
