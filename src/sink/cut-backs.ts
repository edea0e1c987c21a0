/**
 * Partitions that brokers cut back. Kafka acknowledges records that are only in the page cache. If the power of all
 * brokers fails at once, a log may lose its end and grow again with other records at the same offsets. Each fetch names
 * the leader epoch of the record before its offset, and the broker answers where its log departs from that history
 * (KIP-320, KIP-595):
 *
 *   log that was read    0 ─────────── 900 ─────────── 1000
 *   log that is there    0 ─────────── 900 ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ 1200     written later, under another leader
 *                                       └── read on from here, once what was read before is stored
 *
 * The old records from 900 on are stored here, although the log has lost them. The new records there would otherwise
 * never be stored.
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
  /** Whether a cut partition is stopped, because its storage cannot go back. */
  readonly isStopped: boolean
  readonly limits: Pick<SinkLimits, 'cutToldMs'>
  readonly logger: Logger
}

export function createCutBacks ({ kysely, isStopped, limits, logger }: CutBacksOptions) {
  /** The last message of each partition. */
  const told = new Map<string, { readonly message: string, readonly atMs: number }>()
  let moved = 0

  return {
    /** Called when the log differs from `end` on from what was read. */
    found (partition: SinkPartition, end: CutEnd): void {
      const { topic, partition: number } = partition.place
      const { fetchOffset } = partition
      const lost = `brokers lost acknowledged records of partition ${number} of ${topic}, from offset ${end.nextOffset} on`
      if (isStopped) {
        const next = partition.storedOffset > end.nextOffset
          ? '. The records there now do not continue the written ones: src/lake/README.md tells how to go on'
          : ', which were read and not written yet: the partition is read again'
        partition.halt('cut_back', `${lost}${next}`, logger)
        return
      }
      const message = `${lost}; those up to ${fetchOffset} are kept here, and it is read on from ${end.nextOffset}`
      told.set(toKey(partition.place), { message, atMs: performance.now() })
      partition.cut = { ...end, of: partition.claim! }
      partition.halt('cut_back', message, logger)
    },

    /** Moves the position back if the partition was cut. @throws errors of PostgreSQL */
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
