/** A record of either topic → a row for PostgreSQL, or an action. */
import { hash } from 'node:crypto'
import type { DeadLetterRow, ReadingRow } from '../../db/rows.ts'
import { isStoredDeviceId } from '../../schemas/device-id.ts'
import type { Transport } from '../../schemas/transport.ts'
import type { DeadLetterCaps } from '../ingest/dead-letter-caps.ts'
import { ERASURE_SCHEMA, type ErasureMarker, readErasureRecord } from '../kafka/erasure-record.ts'
import { readLetterRecord } from '../kafka/letter-record.ts'
import { readReadingRecord } from '../kafka/reading-record.ts'
import { LETTERS_TOPIC, type LogRecord, type Read } from '../kafka/records.ts'
import type { Place } from './place.ts'

/**
 * `over-cap`: a refused input that is not kept, because the caps of dead letters are reached. `erased`: a record before
 * the marker of an erasure of its device.
 */
export type Decoded =
  | { readonly kind: 'reading', readonly row: ReadingRow, readonly transport: Transport, readonly clientId: string | null }
  | { readonly kind: 'letter', readonly row: DeadLetterRow }
  | { readonly kind: 'over-cap' }
  | { readonly kind: 'erased' }
  | { readonly kind: 'marker', readonly marker: ErasureMarker }

/**
 * A record of a newer gateway. Its partition waits for a newer sink, because a dead letter would have to be resent by
 * hand.
 */
export interface UnknownSchema {
  readonly kind: 'unknown-schema'
  readonly schema: string
}

interface Origin extends Place {
  readonly offset: number
  /** Kafka's time of the record, in Unix milliseconds. */
  readonly timestampMs: number
  readonly key: Buffer | null
}

/** Called once for each record, because it counts dead letters against `caps`. */
export function decode (record: LogRecord, origin: Origin, caps: Pick<DeadLetterCaps, 'admit'>): Decoded | UnknownSchema {
  if (origin.topic === LETTERS_TOPIC) {
    return toDecoded(readLetterRecord(record), record, origin, caps, (row) => admit(row, caps))
  }
  return toDecoded(readReadingRecord(record), record, origin, caps, (reading) => ({ kind: 'reading', ...reading }))
}

function toDecoded<T> (
  read: Read<T>, record: LogRecord, origin: Origin, caps: Pick<DeadLetterCaps, 'admit'>, toRow: (value: T) => Decoded
): Decoded | UnknownSchema {
  if (read.kind === 'read') return toRow(read.value)
  if (read.kind === 'unreadable') return admit(toLetter(record, origin, read.why), caps)
  if (read.schema !== ERASURE_SCHEMA) return read
  return toDecoded(readErasureRecord(record), record, origin, caps, (marker) => ({ kind: 'marker', marker }))
}

/** Whether the ledger needs an outcome for it: stored, refused or given up. */
export function isUndecided ({ kind }: Decoded): boolean {
  return kind === 'reading' || kind === 'letter'
}

/** A reading that passes every rule of the gateway but that PostgreSQL refuses is kept even beyond the caps. */
function admit (row: DeadLetterRow, caps: Pick<DeadLetterCaps, 'admit'>): Decoded {
  return row.reason === 'database_rejected' || caps.admit(row.device, row.payload.length) ? { kind: 'letter', row } : { kind: 'over-cap' }
}

/** Dead letter of a record that no gateway wrote. */
function toLetter (
  { value }: LogRecord, { topic, topicId, partition, offset, timestampMs, key }: Origin, why: string
): DeadLetterRow {
  const device = key?.toString() ?? ''
  return {
    id: toLetterId(`${topicId} ${partition} ${offset}`),
    receivedAtMs: timestampMs,
    transport: 'kafka',
    topic: null,
    clientId: null,
    device: isStoredDeviceId(device) ? device : null,
    reason: 'invalid_reading',
    errors: [{ path: '', message: `record ${offset} of partition ${partition} of ${topic}: ${why}` }],
    payload: value ?? Buffer.alloc(0)
  }
}

/** The same id each time that a record is read. A UUID of version 8 (RFC 9562 §5.8). */
function toLetterId (place: string): string {
  const hex = hash('sha256', place)
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}
