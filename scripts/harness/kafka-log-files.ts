/**
 * The log of a partition on a broker's disk, and its loss in a power failure. Kafka acknowledges records that are only
 * in the page cache, so the end of a log may be missing when the machine is back: the file of the last segment is
 * shorter, and may end within a batch. The metadata of the cluster and the leader epochs of each log stay: Kafka fsyncs
 * them.
 */
import { readdir, readFile, rm, truncate } from 'node:fs/promises'
import { join } from 'node:path'

/** Bytes in front of a batch that its length does not count: offset and length. */
const BATCH_OVERHEAD = 12

/** One batch of records in a segment. */
export interface LoggedBatch {
  readonly firstOffset: number
  readonly lastOffset: number
  readonly leaderEpoch: number
  /** In the file of the segment. */
  readonly at: number
  readonly bytes: number
}

/** The part of a log that was cut off. */
export interface Cut {
  /** Offset of the first missing record, where the log ends once the broker has recovered it. */
  readonly firstLost: number
  /** Offset where it ended before. */
  readonly end: number
}

/** The folder of a partition. @param dataDir - `log.dirs` of its broker */
export const toLogDir = (dataDir: string, topic: string, partition: number) => join(dataDir, `${topic}-${partition}`)

/** Batches of the last segment: the only one that is not fsynced. */
export async function readLastSegment (logDir: string): Promise<{ readonly file: string, readonly batches: LoggedBatch[] }> {
  const segments = (await readdir(logDir)).filter((name) => /^\d{20}\.log$/.test(name)).sort()
  const file = join(logDir, segments.at(-1)!)
  const bytes = await readFile(file)
  const batches: LoggedBatch[] = []
  for (let at = 0; at + 61 <= bytes.length;) {
    const length = BATCH_OVERHEAD + bytes.readInt32BE(at + 8)
    if (length <= BATCH_OVERHEAD || at + length > bytes.length) break
    const firstOffset = Number(bytes.readBigInt64BE(at))
    const lastOffset = firstOffset + bytes.readInt32BE(at + 23)
    batches.push({ firstOffset, lastOffset, leaderEpoch: bytes.readInt32BE(at + 12), at, bytes: length })
    at += length
  }
  return { file, batches }
}

/**
 * Cuts the last segment of a log. Its broker must not run, and must have been killed: after an orderly stop it does not
 * recover its logs.
 * @param keep - bytes of the segment to keep, also within a batch
 * @returns `null`: nothing was cut off
 */
export async function cutLog (logDir: string, keep: (batches: readonly LoggedBatch[]) => number): Promise<Cut | null> {
  const { file, batches } = await readLastSegment(logDir)
  const kept = keep(batches)
  const lost = batches.find(({ at, bytes }) => at + bytes > kept)
  if (lost === undefined) return null
  await truncate(file, kept)
  // Written only at an orderly stop; an old file would say that the log is whole.
  await rm(join(logDir, '..', '.kafka_cleanshutdown'), { force: true })
  return { firstLost: lost.firstOffset, end: batches.at(-1)!.lastOffset + 1 }
}
