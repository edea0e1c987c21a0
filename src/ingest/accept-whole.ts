import type { ReadingRow } from '../../db/rows.ts'
import type { Clock } from '../clock.ts'
import type { Batcher } from './batcher.ts'
import { decode } from './decode.ts'
import { type Decoded, refuseWhole } from './decode-element.ts'
import { decodeFields, type FieldReadings } from './decode-fields.ts'
import type { Ledger } from './ledger.ts'
import type { NameHints } from './name-hints.ts'
import type { PostOutcome } from './post-outcome.ts'
import { toArrayPayload, toPayload } from './reading-row.ts'
import type { IncomingRequest, RequestOutcome } from './request-outcome.ts'
import { READING_OVERHEAD_BYTES, type Settlement, Submission } from './submission.ts'

/** Options of {@link createAcceptWhole}. */
export interface AcceptWholeOptions {
  readonly batcher: Batcher
  readonly ledger: Ledger
  readonly clock: Pick<Clock, 'nowMs' | 'monotonicMs' | 'isConfirmed'>
  readonly nameHints: Pick<NameHints, 'observe'>
  /** Observes the time from receipt to durable of one message. */
  readonly onDurable: (durationMs: number) => void
  /**
   * Sends a device's readings to the subscribers of its topic.
   * @returns a promise that the answer waits for, so that persistent sessions get the readings even if this process
   *   ends; `null`: nothing to wait for
   */
  readonly fanOut: (device: string, payload: Buffer) => Promise<void> | null
}

/** One message that is stored whole or not at all. */
interface WholeMessage {
  readonly transport: 'http' | 'grpc'
  readonly bytes: number
  readonly acceptedAtMs: number
  readonly receivedAtMs: number
  readonly onlyDevice: string | null
  readonly settle: (outcome: RequestOutcome) => void
}

const NONE: readonly never[] = []
const NO_PAYLOAD = Buffer.alloc(0)

/** The entry points of HTTP and gRPC, whose messages have an answer of their own: stored, or why not. */
export function createAcceptWhole ({ batcher, ledger, clock, nameHints, onDurable, fanOut }: AcceptWholeOptions) {
  /** One POST. See {@link import('./post-outcome.ts').AcceptPost}. */
  function acceptPost (
    payload: Buffer, settle: (outcome: PostOutcome) => void, onlyDevice: string | null = null
  ): void {
    const acceptedAtMs = clock.monotonicMs()
    const receivedAtMs = clock.nowMs(acceptedAtMs)
    const decoded = decode(payload, null, receivedAtMs, clock.isConfirmed(receivedAtMs))
    const message = { transport: 'http' as const, bytes: payload.length, acceptedAtMs, receivedAtMs, onlyDevice, settle }
    const rows = toAcceptable(decoded, message)
    if (rows !== null && isTaken(rows, message)) submit(rows, message, payload)
  }

  /** One request over gRPC. See {@link import('./request-outcome.ts').AcceptRequest}. */
  function acceptRequest (
    { readings, bytes, onlyDevice, isStreamed }: IncomingRequest, settle: (outcome: RequestOutcome) => void
  ): void {
    const acceptedAtMs = clock.monotonicMs()
    const receivedAtMs = clock.nowMs(acceptedAtMs)
    const decoded = 'fault' in readings
      ? refuseWhole(NO_PAYLOAD, null, 'invalid_reading', readings.fault.message, readings.fault.path)
      : decodeFields(readings, receivedAtMs, clock.isConfirmed(receivedAtMs))
    // The fields are held twice, parsed and as canonical JSON, but no payload is held.
    const held = 'fault' in readings ? bytes : bytes + otherBytes(readings)
    const message = { transport: 'grpc' as const, bytes: held, acceptedAtMs, receivedAtMs, onlyDevice, settle }
    const rows = toAcceptable(decoded, message)
    if (rows !== null && (isStreamed || isTaken(rows, message))) submit(rows, message, null)
  }

  /** Counts a message as received. @returns its rows; `null` when it was refused and settled */
  function toAcceptable ({ rows, refused }: Decoded, message: WholeMessage): readonly ReadingRow[] | null {
    const { transport, receivedAtMs, onlyDevice, settle } = message
    const count = rows.length + refused.length
    ledger.received(transport, count)
    nameHints.observe(rows, receivedAtMs)
    const [first] = refused
    if (first !== undefined) {
      ledger.refused(transport, first.reason, count)
      settle({ status: 'invalid', reason: first.reason, errors: refused.flatMap((one) => one.errors) })
      return null
    }
    if (onlyDevice !== null && rows.some(({ device }) => device !== onlyDevice)) {
      ledger.refused(transport, 'device_mismatch', count)
      settle({ status: 'forbidden' })
      return null
    }
    return rows
  }

  /** Whether the buffer takes the message now; if not, it is refused and settled. */
  function isTaken (rows: readonly ReadingRow[], { transport, settle }: WholeMessage): boolean {
    if (!batcher.isClosed) return true
    ledger.refused(transport, 'unavailable', rows.length)
    settle({ status: batcher.isAvailable ? 'overloaded' : 'unavailable' })
    return false
  }

  /** @param payload - sent to subscribers of a single reading; `null`: written from the row */
  function submit (readings: readonly ReadingRow[], message: WholeMessage, payload: Buffer | null): void {
    const { transport, bytes, acceptedAtMs, settle } = message
    batcher.submit(new Submission({
      transport,
      clientId: null,
      readings,
      letters: NONE,
      bytes: bytes + readings.length * READING_OVERHEAD_BYTES,
      acceptedAtMs,
      isAllOrNothing: true,
      onSettled (submission: Submission, settlement: Settlement) {
        const [rejection] = submission.rejections
        if (settlement !== 'durable') {
          settle({ status: 'unavailable' })
        } else if (rejection !== undefined) {
          settle({ status: 'invalid', reason: 'database_rejected', errors: [...rejection.errors] })
        } else {
          onDurable(clock.monotonicMs() - submission.acceptedAtMs)
          const copied = fanOutByDevice(payload, readings)
          const { isStored, duplicates } = submission
          const answer = () => { settle({ status: 'durable', isStored, isDuplicate: duplicates === readings.length }) }
          if (copied === null) answer()
          else copied.then(answer, () => { settle({ status: 'unavailable' }) })
        }
      }
    }))
  }

  function fanOutByDevice (payload: Buffer | null, rows: readonly ReadingRow[]): Promise<void> | null {
    const [only] = rows
    if (rows.length === 1 && only !== undefined) return fanOut(only.device, payload ?? Buffer.from(toPayload(only)))
    const devices = new Map<string, ReadingRow[]>()
    for (const row of rows) {
      const ofDevice = devices.get(row.device)
      if (ofDevice === undefined) devices.set(row.device, [row])
      else ofDevice.push(row)
    }
    let copied: Promise<void> | null = null
    // Copies settle in the order in which they were asked for, so waiting for the last one is enough.
    for (const [device, ofDevice] of devices) copied = fanOut(device, toArrayPayload(ofDevice)) ?? copied
    return copied
  }

  return { acceptPost, acceptRequest }
}

function otherBytes ({ others }: FieldReadings): number {
  let bytes = 0
  for (const { length } of others.values()) bytes += length
  return bytes
}
