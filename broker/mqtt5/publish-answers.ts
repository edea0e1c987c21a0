import type { Outcome } from '../publish/acknowledgement-queue.ts'
import { type ReasonCode5, REASONS5 } from '../wire/v5/reason-codes.ts'

/** What PUBACK or PUBREC says. */
export interface Answer {
  readonly code: ReasonCode5
  /** Its Reason String. */
  readonly text: string | null
}

const STORED: Answer = { code: REASONS5.success, text: null }

/**
 * The answer to a publish. Clients drop a message at 0x80 and above [MQTT-4.4.0-2], so such a code says that sending it
 * again is useless. A publish that cannot be stored now has no answer at all.
 * @param outcome - not `unavailable`; `quota`: it is outside `vital/`, and no further message can be retained
 */
export function toAnswer (outcome: Outcome | 'quota'): Answer {
  if (outcome === 'relayed') return STORED
  if (outcome === 'not_allowed') return { code: REASONS5.notAuthorized, text: null }
  if (outcome === 'topic') return { code: REASONS5.topicNameInvalid, text: 'the topic is too long or has too many levels' }
  if (outcome === 'payload_format') return { code: REASONS5.payloadFormatInvalid, text: 'the payload is not UTF-8' }
  if (outcome === 'quota') return { code: REASONS5.quotaExceeded, text: 'no further message is retained' }
  if (outcome.status === 'unavailable') throw new Error('a publish that was not stored has no answer')
  const { rejections, elements, isKept } = outcome
  const [first] = rejections
  if (first === undefined) return STORED
  if (rejections.length < elements) return { code: REASONS5.success, text: `${rejections.length} of ${elements} rejected` }
  if (!isKept) return { code: REASONS5.quotaExceeded, text: `${first.reason}; not kept: dead letters are full` }
  const code = first.reason === 'invalid_topic' ? REASONS5.topicNameInvalid : REASONS5.payloadFormatInvalid
  return { code, text: first.reason }
}
