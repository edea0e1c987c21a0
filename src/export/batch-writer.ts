/**
 * Writes a batch into the time-series database, and then its offsets into PostgreSQL:
 *
 *   markers ──> deletions ──> lines ──> POST ──> offsets, with the dead letters
 *                                        │
 *                                        ├─ a line is refused: the batch is halved until it is alone; it becomes a dead letter
 *                                        ├─ the batch is too large or too slow: the next batch is smaller
 *                                        └─ the database is away, or full: retried with growing delays; no offset moves
 *
 * A reading that is written twice replaces itself, so offsets may move after the write. They move only if this export
 * still owns the partition.
 */
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { Logger } from 'pino'
import type { DeadLetterRow, ReadingRow } from '../../db/rows.ts'
import { classifyError, type WriteFault } from '../../db/sqlstate.ts'
import type { Store } from '../../db/store.ts'
import type { DeadLetterCaps } from '../ingest/dead-letter-caps.ts'
import type { RefusedLetters } from '../ingest/journal/refused-letters.ts'
import { createOffsetWriter } from '../sink/offset-writer.ts'
import type { BatchWriter, Slice } from '../sink/storing.ts'
import { ExportError } from './export-error.ts'
import type { Inspector } from './inspector.ts'
import type { ExportLimits } from './limits.ts'
import { toDeviceTag, toLine } from './line-protocol.ts'
import type { Target } from './target.ts'

const compress = promisify(gzip)

/** Counts since the start. */
export interface ExportStatistics {
  requests: number
  bytes: number
  /** Readings without any value that the database can hold. */
  withoutValues: number
  /** Dead letters that were not kept because the caps were reached. */
  lettersOverCap: number
  /** Deletions of erased devices, one for each partition. */
  erasures: number
  /** Deletions that the database cannot do. */
  erasuresLeft: number
}

interface BatchWriterOptions {
  readonly target: Pick<Target, 'lineEnd' | 'isCaseBlind' | 'prepare' | 'write' | 'erase'>
  readonly inspector: Pick<Inspector, 'assertApplying' | 'count'>
  /** Writes offsets and dead letters to PostgreSQL. */
  readonly store: Pick<Store, 'write'>
  readonly caps: Pick<DeadLetterCaps, 'admit'>
  readonly refusedLetters: Pick<RefusedLetters, 'keep'>
  readonly limits: Pick<ExportLimits, 'gzipLevel'>
  readonly logger: Logger
}

export function createBatchWriter ({ target, inspector, store, caps, refusedLetters, limits, logger }: BatchWriterOptions) {
  const statistics: ExportStatistics = { requests: 0, bytes: 0, withoutValues: 0, lettersOverCap: 0, erasures: 0, erasuresLeft: 0 }
  const left = new Set<string>()
  let isPrepared = false

  /** @param partitions - the partition of Kafka of each row */
  async function send (rows: readonly ReadingRow[], partitions: ReadonlyMap<ReadingRow, number>): Promise<void> {
    let text = ''
    let lines = 0
    for (const row of rows) {
      const line = toLine(row, partitions.get(row)!, target.lineEnd, target.isCaseBlind)
      if (line === null) continue
      text += `${line}\n`
      lines++
    }
    statistics.withoutValues += rows.length - lines
    if (lines === 0) return
    const bytes = await compress(text, { level: limits.gzipLevel })
    statistics.requests++
    statistics.bytes += bytes.length
    inspector.count('retention', await target.write(bytes))
  }

  function admit (letter: DeadLetterRow): boolean {
    const isAdmitted = caps.admit(letter.device, letter.payload.length)
    if (!isAdmitted) statistics.lettersOverCap++
    return isAdmitted
  }

  const createWriterOf = (partitions: ReadonlyMap<ReadingRow, number>) => createOffsetWriter({
    store: {
      async write (readings, letters, timeoutMs, claims) {
        if (readings.length > 0) await send(readings, partitions)
        return await store.write([], letters.filter(admit), timeoutMs, claims)
      }
    },
    classify: classifyExport,
    refusedLetters,
    logger
  })

  /** Deletes erased devices. Called before readings behind their markers are written. */
  async function erase ({ partition: { place }, records }: Slice): Promise<void> {
    for (const record of records) {
      if (record.kind !== 'marker') continue
      const { device, marker } = record.marker
      const isErased = await target.erase(toDeviceTag(device), place.partition)
      if (isErased) statistics.erasures++
      else {
        statistics.erasuresLeft++
        left.add(marker)
      }
      const said = { erasure: marker, topic: place.topic, partition: place.partition }
      if (isErased) logger.info(said, 'a device that is erased was deleted from the time-series database')
      else logger.error(said, 'the time-series database cannot delete a device that is erased: src/export/README.md tells what to do')
    }
  }

  const writer: BatchWriter = {
    async write (submissions, moves, slices) {
      inspector.assertApplying()
      if (!isPrepared) await target.prepare()
      isPrepared = false
      const partitions = new Map<ReadingRow, number>()
      for (const slice of slices) {
        await erase(slice)
        for (const record of slice.records) if (record.kind === 'reading') partitions.set(record.row, slice.partition.place.partition)
      }
      await createWriterOf(partitions).write(submissions, moves)
      // After a failure the database is prepared again, because it may have been replaced.
      isPrepared = true
    }
  }
  return {
    ...writer,
    statistics: statistics as Readonly<ExportStatistics>,
    warnings: (): string[] => left.size === 0
      ? []
      : [`the time-series database still has devices of ${left.size} erasures, and cannot delete them by itself: see src/export/README.md`]
  }
}

/** Classifies the error of a write to PostgreSQL or to the time-series database. */
function classifyExport (error: unknown): WriteFault {
  if (!(error instanceof ExportError)) return classifyError(error)
  return error.code === 'VITAL_EXPORT_REFUSED' ? 'reject-row' : 'retry'
}
