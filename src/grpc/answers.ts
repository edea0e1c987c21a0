import type { Fault } from '../../schemas/fault.ts'
import { ERROR_OF_REASON, HTTP_ERRORS } from '../http/errors.ts'
import type { RequestOutcome } from '../ingest/request-outcome.ts'
import { encodeBytes, toTag, varintBytes, WIRE, writeVarint } from './wire.ts'

/** `Outcome` of schemas/vital/v1/ingest.proto. */
const OUTCOME = { stored: 1, duplicate: 2, rejected: 3, unavailable: 4 } as const

/** The answer to one request, ready to be encoded. */
export interface Answer {
  readonly number: number | bigint
  readonly outcome: number
  /** Code, message and details, encoded; empty where the readings are stored. */
  readonly refusal: Buffer
}

const NONE = Buffer.alloc(0)
const OUTCOME_BYTES = 2
const NUMBER = toTag(1, WIRE.varint)
const OUTCOME_TAG = toTag(2, WIRE.varint)
const ANSWERS = toTag(1, WIRE.bytes)

type ErrorClass = typeof HTTP_ERRORS[keyof typeof HTTP_ERRORS]

/** Code and message are those of HTTP, so that a device has one list of them. */
function encodeRefusal (error: InstanceType<ErrorClass>, details: readonly Fault[] = []): Buffer {
  return Buffer.concat([
    encodeBytes(3, error.code),
    encodeBytes(4, error.message),
    ...details.map(({ path, message }) => encodeBytes(5, Buffer.concat([encodeBytes(1, path), encodeBytes(2, message)])))
  ])
}

// These never vary and go out at full rate.
const FORBIDDEN = encodeRefusal(new HTTP_ERRORS.Forbidden())
const OVERLOADED = encodeRefusal(new HTTP_ERRORS.Overloaded())
const UNAVAILABLE = encodeRefusal(new HTTP_ERRORS.Unavailable())
const TOO_LARGE = encodeRefusal(new HTTP_ERRORS.BodyTooLarge())

/** The outcome of a request → its answer. */
export function toAnswer (number: number | bigint, outcome: RequestOutcome): Answer {
  switch (outcome.status) {
    case 'durable':
      return { number, outcome: outcome.isDuplicate ? OUTCOME.duplicate : OUTCOME.stored, refusal: NONE }
    case 'invalid': {
      const refusal = encodeRefusal(new ERROR_OF_REASON[outcome.reason](), outcome.errors)
      return { number, outcome: OUTCOME.rejected, refusal }
    }
    case 'forbidden':
      return { number, outcome: OUTCOME.rejected, refusal: FORBIDDEN }
    case 'overloaded':
      return { number, outcome: OUTCOME.unavailable, refusal: OVERLOADED }
    case 'unavailable':
      return { number, outcome: OUTCOME.unavailable, refusal: UNAVAILABLE }
  }
}

/** The answer to a request of too many bytes. */
export const toTooLarge = (number: number | bigint): Answer => ({ number, outcome: OUTCOME.rejected, refusal: TOO_LARGE })

const contentBytes = ({ number, refusal }: Answer): number =>
  1 + varintBytes(number) + OUTCOME_BYTES + refusal.length

function writeAnswer (bytes: Buffer, at: number, { number, outcome, refusal }: Answer): number {
  bytes[at++] = NUMBER
  at = writeVarint(bytes, at, number)
  bytes[at++] = OUTCOME_TAG
  bytes[at++] = outcome
  return at + refusal.copy(bytes, at)
}

/** An `Answer`. */
export function encodeAnswer (answer: Answer): Buffer {
  const bytes = Buffer.allocUnsafe(contentBytes(answer))
  writeAnswer(bytes, 0, answer)
  return bytes
}

/** A `PublishResponse` with these answers. */
export function encodeAnswers (answers: readonly Answer[]): Buffer {
  let length = 0
  for (const answer of answers) {
    const content = contentBytes(answer)
    length += 1 + varintBytes(content) + content
  }
  const bytes = Buffer.allocUnsafe(length)
  let at = 0
  for (const answer of answers) {
    bytes[at++] = ANSWERS
    at = writeVarint(bytes, at, contentBytes(answer))
    at = writeAnswer(bytes, at, answer)
  }
  return bytes
}
