import type { ReadingRow } from '../../../db/rows.ts'
import type { KafkaLog } from '../../kafka/kafka-log.ts'
import { toLetterRecord } from '../../kafka/letter-record.ts'
import { toReadingRecord } from '../../kafka/reading-record.ts'
import type { OutgoingRecord } from '../../kafka/records.ts'
import type { Target } from './target.ts'

interface KafkaTargetOptions {
  readonly log: Pick<KafkaLog, 'append' | 'ping'>
  /** Observes readings that Kafka has acknowledged. Takes microseconds, never throws. */
  readonly onLogged?: (readings: readonly ReadingRow[]) => void
  /** Id of the last request to erase a device that this gateway has dealt with; records carry it in a header. */
  readonly seenErasure?: () => number
  readonly warnings?: () => readonly string[]
}

/**
 * Kafka as the journal's target. It does not detect duplicates and does not refuse single readings; the sink does. So a
 * batch is never halved, and a message is never decided in part.
 */
export function createKafkaTarget ({ log, onLogged, seenErasure, warnings = () => [] }: KafkaTargetOptions): Target {
  return {
    name: 'Kafka',
    outcome: 'logged',
    async write (submissions) {
      const records: OutgoingRecord[] = []
      const seen = seenErasure?.()
      for (const { transport, clientId, readings, letters } of submissions) {
        for (const row of readings) records.push(toReadingRecord({ row, transport, clientId }, seen))
        for (const letter of letters) records.push(toLetterRecord(letter, seen))
      }
      await log.append(records)
      if (onLogged !== undefined) for (const { readings } of submissions) onLogged(readings)
    },
    ping: log.ping,
    warnings
  }
}
