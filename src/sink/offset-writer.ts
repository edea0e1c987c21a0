/**
 * Writes a batch and the offsets of its partitions in one transaction. If rows are refused and the batch is halved,
 * each part is stored with the unchanged offsets, so that PostgreSQL still refuses it once another sink owns a
 * partition. The offsets move after the last part: in table `sink_offsets`, by db/queries/move-offsets.ts.
 */
import type { Logger } from 'pino'
import type { Claim } from '../../db/queries/claim-offset.ts'
import type { Store } from '../../db/store.ts'
import { createWriter, type WriterOptions } from '../ingest/journal/postgres-writer.ts'
import type { RefusedLetters } from '../ingest/journal/refused-letters.ts'
import type { Submission } from '../ingest/submission.ts'

/** Position of a partition before and after the batch. */
export interface Move {
  readonly from: Claim
  readonly to: Claim
}

interface OffsetWriterOptions {
  readonly store: Pick<Store, 'write'>
  readonly refusedLetters: Pick<RefusedLetters, 'keep'>
  /** Classifies errors if readings do not go to PostgreSQL; by default by SQLSTATE. */
  readonly classify?: WriterOptions['classify']
  readonly logger: Logger
}

export function createOffsetWriter ({ store, refusedLetters, classify, logger }: OffsetWriterOptions) {
  return {
    /**
     * @returns after COMMIT of everything; duplicates and rejections are noted on the submissions
     * @throws the error of the database; VS001 if another sink owns a partition
     */
    async write (submissions: readonly Submission[], moves: readonly Move[]): Promise<void> {
      const units = submissions.reduce((sum, submission) => sum + submission.units, 0)
      const [from, to] = [moves.map((move) => move.from), moves.map((move) => move.to)]
      let isMoved = false
      const { write } = createWriter({
        store: {
          async write (readings, letters, timeoutMs) {
            const isAll = readings.length + letters.length === units
            const written = await store.write(readings, letters, timeoutMs, isAll ? to : from)
            isMoved ||= isAll
            return written
          }
        },
        refusedLetters,
        ...classify === undefined ? {} : { classify },
        logger
      })
      if (units > 0) await write(submissions, { isCancelled: false })
      if (!isMoved) await store.write([], [], undefined, to)
    }
  }
}
