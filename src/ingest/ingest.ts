import { randomUUID } from 'node:crypto'
import type { Ingest as IngestPublish, Verdict, VitalPublish } from '../../broker/ingest.ts'
import { namedDeviceOf } from '../../broker/topics.ts'
import type { DeadLetterRow, ReadingRow } from '../../db/rows.ts'
import type { Fault } from '../../schemas/fault.ts'
import type { Rejection } from '../../schemas/rejection.ts'
import { type AcceptWholeOptions, createAcceptWhole } from './accept-whole.ts'
import type { DeadLetterCaps } from './dead-letter-caps.ts'
import { decode } from './decode.ts'
import type { Decoded, Refused } from './decode-element.ts'
import { toArrayPayload } from './reading-row.ts'
import { READING_OVERHEAD_BYTES, type Settlement, Submission, type SubmissionOptions } from './submission.ts'

const NONE: readonly never[] = []

export interface IngestOptions extends AcceptWholeOptions {
  readonly caps: DeadLetterCaps
  /** Topics of readings, as the refusal of a publish to another topic names them. */
  readonly topic: string
}

/** One PUBLISH under way; a class instead of a closure, because thousands wait at a time. */
class PublishSubmission extends Submission {
  readonly publish: VitalPublish
  readonly refused: readonly Refused[]
  readonly receivedAtMs: number

  constructor (options: SubmissionOptions, publish: VitalPublish, refused: readonly Refused[], receivedAtMs: number) {
    super(options)
    this.publish = publish
    this.refused = refused
    this.receivedAtMs = receivedAtMs
  }
}

/**
 * The entry points of ingest, one per transport: all are decoded, counted, batched and made durable by the same code.
 */
export function createIngest (options: IngestOptions) {
  const { batcher, caps, ledger, clock, nameHints, onDurable, topic } = options
  /** See {@link IngestPublish}. */
  const acceptPublish: IngestPublish = (publish) => {
    const acceptedAtMs = clock.monotonicMs()
    const receivedAtMs = clock.nowMs(acceptedAtMs)
    const { rows, refused } = publish.device === null
      ? toInvalidTopic(publish, topic)
      : decode(publish.payload, publish.device, receivedAtMs, clock.isConfirmed(receivedAtMs))
    ledger.received('mqtt', rows.length + refused.length)
    nameHints.observe(rows, receivedAtMs)
    const letters = refused.length === 0 ? NONE : toLetters(publish, refused, receivedAtMs)
    if (rows.length === 0 && letters.length === 0) {
      publish.settle(toVerdict(publish.payload, rows, refused, receivedAtMs, null))
      return
    }
    batcher.submit(new PublishSubmission({
      transport: 'mqtt',
      clientId: publish.clientId,
      readings: rows,
      letters,
      bytes: publish.payload.length + (rows.length + letters.length) * READING_OVERHEAD_BYTES,
      acceptedAtMs,
      isAllOrNothing: false,
      onSettled: settlePublish
    }, publish, refused, receivedAtMs))
  }

  function settlePublish (submission: Submission, settlement: Settlement): void {
    const { publish, refused, receivedAtMs, readings, acceptedAtMs } = submission as PublishSubmission
    if (settlement !== 'durable') {
      publish.settle({ status: 'unavailable', reason: settlement })
      return
    }
    onDurable(clock.monotonicMs() - acceptedAtMs)
    publish.settle(toVerdict(publish.payload, readings, refused, receivedAtMs, submission))
  }

  /** Refused inputs that are kept as dead letters; the others are only counted. */
  function toLetters (publish: VitalPublish, refused: readonly Refused[], receivedAtMs: number): DeadLetterRow[] {
    const letters: DeadLetterRow[] = []
    for (const one of refused) {
      if (caps.admit(one.device, one.payload.length)) letters.push(toDeadLetter(publish, one, receivedAtMs))
      else ledger.refused('mqtt', 'over_cap', 1)
    }
    return letters
  }

  return { acceptPublish, ...createAcceptWhole(options) }
}

function toInvalidTopic ({ topic, payload }: VitalPublish, wanted: string): Decoded {
  const errors = [{ path: '', message: `the topic must be ${wanted}, with a valid device id` }]
  return { rows: [], refused: [{ reason: 'invalid_topic', errors, payload, device: namedDeviceOf(topic) }] }
}

function toDeadLetter (
  publish: VitalPublish, { reason, errors, payload, device }: Refused, receivedAtMs: number
): DeadLetterRow {
  const { topic, clientId } = publish
  return { id: randomUUID(), receivedAtMs, transport: 'mqtt', topic, clientId, device, reason, errors, payload }
}

function toVerdict (
  payload: Buffer, rows: readonly ReadingRow[], refused: readonly Refused[], receivedAtMs: number, submission: Submission | null
): Verdict {
  const elements = rows.length + refused.length
  if (refused.length === 0 && submission?.rejections.length === 0) {
    return { status: 'durable', fanOut: payload, rejections: NONE, elements, isKept: true }
  }
  return {
    elements,
    isKept: submission !== null && submission.letters.length === refused.length,
    status: 'durable',
    fanOut: submission === null ? null : toStoredPayload(rows, submission),
    rejections: toRejections(refused, submission, receivedAtMs)
  }
}

/** The readings of an array that were stored, if some were not. @returns `null`: none was stored */
function toStoredPayload (rows: readonly ReadingRow[], submission: Submission): Buffer | null {
  const rejected = new Set(submission.rejections.map(({ row }) => row))
  const stored = rows.filter((row) => !rejected.has(row))
  return stored.length === 0 ? null : toArrayPayload(stored)
}

function toRejections (refused: readonly Refused[], submission: Submission | null, receivedAtMs: number): Rejection[] {
  const toRejection = (reason: Rejection['reason'], errors: readonly Fault[]): Rejection =>
    ({ reason, errors: [...errors], receivedAt: receivedAtMs / 1000 })
  return [
    ...refused.map(({ reason, errors }) => toRejection(reason, errors)),
    ...submission?.rejections.map(({ errors }) => toRejection('database_rejected', errors)) ?? []
  ]
}
