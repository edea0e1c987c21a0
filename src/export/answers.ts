/**
 * Interprets answers to writes. Databases of line protocol answer 400 for a bad line, a bound of theirs, or a wrong
 * request alike.
 */
import { ExportError } from './export-error.ts'
import type { Answer } from './http-client.ts'

const TOO_LARGE = 413
/** Faults of a single line. Other faults may concern all lines, so the export waits for an operator. */
const OF_A_LINE = new RegExp([
  'field type conflict', 'unable to parse', 'input field .* is (?:invalid|too long)', // InfluxDB 1 and 2
  'invalid column type', // InfluxDB 3
  'cast error', 'could not parse entire line', 'invalid column name', 'column name is too long' // QuestDB
].join('|'), 'i')
/** A bound that the operator of the database has to raise. @see influxdata/influxdb#7430 */
const BOUND = /max-values-per-tag|max-series-per-database/
const EXPIRED = /points beyond retention policy dropped=(\d+)/
const MESSAGE_CHARACTERS_MAX = 300

/**
 * @returns number of points that the database dropped because they are beyond its retention
 * @throws {@link ExportError} if it did not take all other points
 */
export function takeAnswer ({ status, text }: Pick<Answer, 'status' | 'text'>): number {
  if (status >= 200 && status < 300) return 0
  const message = toMessage(text)
  if (status === TOO_LARGE) throw new ExportError(`it answers ${status}: ${message}`, 'VITAL_EXPORT_TOO_LARGE')
  if (status === 400 || status === 422) {
    if (BOUND.test(message)) {
      throw new ExportError(`it takes no more devices: ${message.replace(/^partial write: /, '')}. Raise this bound in its ` +
        'configuration, and ' +
        'restart it')
    }
    const expired = EXPIRED.exec(message)
    if (expired !== null) return Number(expired[1])
    if (OF_A_LINE.test(message)) throw new ExportError(message, 'VITAL_EXPORT_REFUSED')
  }
  throw new ExportError(`it answers ${status}: ${message}`)
}

/** The error message of an answer, without ids and values of readings. */
export function toMessage (text: string): string {
  return toError(text).replaceAll(/unable to parse '[^]*':/g, 'unable to parse a line:').replaceAll(/ value="[^]*?" dropped/g, ' dropped')
    .replaceAll(/\s+/g, ' ').trim().slice(0, MESSAGE_CHARACTERS_MAX)
}

function toError (text: string): string {
  try {
    const { error, message } = JSON.parse(text) as { readonly error?: unknown, readonly message?: unknown }
    if (typeof message === 'string') return message
    if (typeof error === 'string') return error
  } catch { /* It is not JSON. */ }
  return text
}
