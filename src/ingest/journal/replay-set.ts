/** The size of the sets that the replayer writes, and how a larger message is cut. */
import { classifyError, toSqlState } from '../../../db/sqlstate.ts'
import { Submission } from '../submission.ts'

/**
 * The cost of one row in PostgreSQL besides its bytes, expressed in bytes: 2,000 small readings take about as long as
 * 4 MiB of text. So one number bounds a set of any kind.
 */
const ROW_WEIGHT = 2048

const SET_WEIGHT_MIN = ROW_WEIGHT
const SET_WEIGHT_MAX = 2000 * ROW_WEIGHT
/** After an outage the first set is the trial on which the circuit closes. */
const SET_WEIGHT_FIRST = 64 * ROW_WEIGHT

/** Longest that a set should take: it holds row locks of `latest`, for which new readings of the same devices wait. */
const TARGET_MS = 250

/** The size of the sets: grows while sets are quick, and shrinks when one is slow or not taken. */
export class SetSize {
  #weight = SET_WEIGHT_FIRST

  get weight (): number {
    return this.#weight
  }

  /** @param weight - of the set: may be less than was allowed, or more if it was a single large reading */
  succeed (weight: number, tookMs: number): void {
    const used = Math.min(this.#weight, weight)
    if (tookMs > TARGET_MS) {
      // A small set is not slow because of its size: smaller sets would be just as slow, and there would be more of
      // them.
      this.#set(Math.max(used * Math.max(0.25, TARGET_MS / tookMs), Math.min(used * 2, SET_WEIGHT_FIRST)))
    } else if (tookMs < TARGET_MS / 2 && weight > this.#weight / 2) {
      this.#set(this.#weight * 2)
    }
  }

  fail (weight: number): void {
    this.#set(Math.min(this.#weight, weight) / 4)
  }

  #set (weight: number): void {
    this.#weight = Math.round(Math.min(SET_WEIGHT_MAX, Math.max(SET_WEIGHT_MIN, weight)))
  }
}

/** @returns bytes */
export function weigh ({ readings, letters }: Pick<Submission, 'readings' | 'letters'>): number {
  let weight = (readings.length + letters.length) * ROW_WEIGHT
  for (const { vitals } of readings) weight += vitals.length
  for (const { payload } of letters) weight += payload.length
  return weight
}

/** @returns the front of a message, one reading or dead letter at least, and the rest of it */
export function cut (submission: Submission, weightMax: number): { first: Submission, rest: Submission | null } {
  const { readings, letters } = submission
  let weight = 0
  let units = 0
  const fits = (bytes: number) => units === 0 || weight + ROW_WEIGHT + bytes <= weightMax
  while (units < submission.units) {
    const bytes = units < readings.length
      ? readings[units]!.vitals.length
      : letters[units - readings.length]!.payload.length
    if (!fits(bytes)) break
    weight += ROW_WEIGHT + bytes
    units++
  }
  if (units === submission.units) return { first: submission, rest: null }
  const lettersFrom = Math.max(0, units - readings.length)
  return {
    first: copy(submission, { readings: readings.slice(0, units), letters: letters.slice(0, lettersFrom) }),
    rest: copy(submission, { readings: readings.slice(units), letters: letters.slice(lettersFrom) })
  }
}

/**
 * @returns the decided part of a message, with its outcome, and the part that is to be retried; `null` where there is
 *   none
 */
export function partDecided (submission: Submission): { decided: Submission | null, rest: Submission } {
  const indexes = submission.decided
  if (indexes === null || indexes.size === 0) return { decided: null, rest: submission }
  const decided = copy(submission, {
    readings: submission.readings.filter((_, index) => indexes.has(index)), letters: []
  })
  decided.duplicates = submission.duplicates
  for (const rejection of submission.rejections) decided.reject(rejection)
  return { decided, rest: copy(submission, { readings: submission.undecided, letters: submission.letters }) }
}

function copy ({ transport, clientId }: Submission, part: Pick<Submission, 'readings' | 'letters'>): Submission {
  return toReplayed({ transport, clientId, ...part })
}

/** Makes a submission of a message that was already acknowledged or given up, so nothing is settled. */
export function toReplayed (of: Pick<Submission, 'transport' | 'clientId' | 'readings' | 'letters'>): Submission {
  return new Submission({ ...of, bytes: 0, acceptedAtMs: 0, isAllOrNothing: false, onSettled: () => {} })
}

/**
 * SQLSTATEs of shortages that a smaller set may avoid: 53200 out_of_memory, 55P03 lock_not_available, 57014
 * query_canceled.
 */
const OF_SET: ReadonlySet<string> = new Set(['53200', '55P03', '57014'])

/** Whether the target answers but did not take this set, so that a smaller one may be taken. */
function isOfSet (error: unknown): boolean {
  const state = toSqlState(error)
  if (state !== null) return OF_SET.has(state) || state.startsWith('40')
  const { code, cause, message } = error as { code?: unknown, cause?: unknown, message?: string }
  // pg's message for a server that does not answer in time.
  return code === 'VITAL_COMMIT_TIMEOUT' || code === 'VITAL_KAFKA_REFUSED' || code === 'VITAL_EXPORT_TOO_LARGE' ||
    message === 'Query read timeout' ||
    (cause !== undefined && isOfSet(cause))
}

/** Whether the target is at fault, whatever the set holds. */
export function isAway (error: unknown): boolean {
  return classifyError(error) === 'retry' && !isOfSet(error)
}
