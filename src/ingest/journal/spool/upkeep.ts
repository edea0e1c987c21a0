/** Changes to the spool's directory, except the writing of segments. */
import { join } from 'node:path'
import type { Disk } from './disk.ts'
import { type Cursor, CURSOR_NAME, encodeCursor, parseSegmentName, toDamagedName } from './format.ts'
import type { Segment, SpoolContext } from './segment.ts'

/**
 * Number of damaged segments that are kept; the oldest is removed first. They do not count against the cap, or damage
 * could fill the spool for good.
 */
const DAMAGED_SEGMENTS_MAX = 8

/** Size of a probe: a disk with room for it is worth another try. */
const PROBE_BYTES = 1024 * 1024

/**
 * Settles when the read position is durable. At any time the file holds either the whole old position or the whole new
 * one.
 */
export async function writeCursor (context: SpoolContext, cursor: Cursor): Promise<void> {
  await replaceFile(context, CURSOR_NAME, encodeCursor(cursor))
}

/** Replaces a file as a whole. Settles when it is durable under its name. */
export async function replaceFile ({ directory, disk }: SpoolContext, name: string, content: Buffer): Promise<void> {
  const draft = join(directory, `${name}.tmp`)
  await writeDraft(disk, draft, content)
  await disk.rename(draft, join(directory, name))
  await disk.syncDirectory(directory)
}

/** Settles when the disk wrote some bytes and read them back; rejects with the system's error. */
export async function probeDisk ({ directory, disk }: SpoolContext): Promise<void> {
  const draft = join(directory, 'probe.tmp')
  await writeDraft(disk, draft, Buffer.alloc(PROBE_BYTES))
  await disk.unlink(draft)
}

/** @returns whether the segment was removed; if not, a later call can remove it */
export async function removeSegment (context: SpoolContext, segment: Segment): Promise<boolean> {
  const { directory, disk, logger, kept } = context
  try {
    if (!segment.isDamaged) {
      await (kept?.keep(segment) ?? disk.unlink(segment.path))
      return true
    }
    await disk.rename(segment.path, join(directory, toDamagedName(segment.name)))
    await pruneDamaged(context)
    return true
  } catch (error) {
    // The file is already gone; its contents were read.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true
    logger.warn({ err: error, segment: segment.name },
      'could not remove a segment of the spool; trying again at the next release')
    return false
  }
}

async function pruneDamaged ({ directory, disk, logger }: SpoolContext): Promise<void> {
  const names = (await disk.list(directory)).filter((name) => parseSegmentName(name)?.isDamaged === true).sort()
  for (const name of names.slice(0, Math.max(0, names.length - DAMAGED_SEGMENTS_MAX))) {
    logger.warn({ segment: name }, 'removed the oldest damaged segment of the spool to make room for another')
    await disk.unlink(join(directory, name))
  }
}

async function writeDraft (disk: Disk, path: string, content: Buffer): Promise<void> {
  // Left by a process that died, or by a try that failed.
  await disk.unlink(path).catch((error: NodeJS.ErrnoException) => { if (error.code !== 'ENOENT') throw error })
  const file = await disk.create(path)
  try {
    try {
      await file.write([content], 0)
      await file.sync()
    } finally {
      await file.close()
    }
  } catch (error) {
    await disk.unlink(path).catch(() => {})
    throw error
  }
}
