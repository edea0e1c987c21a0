/**
 * Partitions that brokers cut back. Kafka acknowledges out of the page cache: where the power of all brokers fails at once, a
 * log may lack its end, and grow again with other records in the same places. Each fetch says under which leader the record
 * before it was written, and the broker tells where the log left that history (KIP-320, KIP-595):
 *
 *   log that was read    0 ─────────── 900 ─────────── 1000
 *   log that is there    0 ─────────── 900 ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ 1200     written later, under another leader
 *                                       └── read on from here, once what was read before is stored
 *
 * What stood behind is stored here, though the log has lost it. What stands there now is new, and would be stored by nobody.
 */
import type { Kysely } from 'kysely'
import type { Logger } from 'pino'
import { type CutEnd, moveOffsetBack } from '../../db/queries/move-offset-back.ts'
import type { Tables } from '../../db/tables.ts'
import type { SinkLimits } from './limits.ts'
import type { SinkPartition } from './partition.ts'
import { toKey } from './place.ts'

interface CutBacksOptions {
  readonly kysely: Kysely<Tables>
  /** A partition is stopped, because what stores its records cannot go back. */
  readonly isStopped: boolean
  readonly limits: Pick<SinkLimits, 'cutToldMs'>
  readonly logger: Logger
}

export function createCutBacks ({ kysely, isStopped, limits, logger }: CutBacksOptions) {
  /** The last one of each partition. */
  const told = new Map<string, { readonly message: string, readonly atMs: number }>()
  let moved = 0

  return {
    /** The log has another history from `end` on than what was read. */
    found (partition: SinkPartition, end: CutEnd): void {
      const { topic, partition: number } = partition.place
      const { fetchOffset } = partition
      const lost = `brokers lost acknowledged records of partition ${number} of ${topic}, from offset ${end.nextOffset} on`
      if (isStopped) {
        const next = partition.storedOffset > end.nextOffset
          ? '. What stands there now does not fit behind what is written: src/lake/README.md tells how to go on'
          : ', which were read and not written yet: the partition is read anew'
        partition.halt('cut_back', `${lost}${next}`, logger)
        return
      }
      const message = `${lost}; those up to ${fetchOffset} are kept here, and it is read on from ${end.nextOffset}`
      told.set(toKey(partition.place), { message, atMs: performance.now() })
      partition.cut = { ...end, of: partition.claim! }
      partition.halt('cut_back', message, logger)
    },

    /** Moves the position back, if that is to be done. @throws errors of PostgreSQL */
    async goBack (partition: SinkPartition): Promise<void> {
      const { cut } = partition
      if (cut === null) return
      if (await moveOffsetBack(kysely, cut.of, cut)) moved++
      partition.cut = null
    },

    get moved () { return moved },

    warnings (): string[] {
      const sinceMs = performance.now() - limits.cutToldMs
      return [...told.values()].filter(({ atMs }) => atMs > sinceMs).map(({ message }) => message)
    }
  }
}
