import { OperatorError } from './command.ts'

const UNITS_S: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 }
/** The end of the year 9999: further ones PostgreSQL may refuse. */
const INSTANT_MAX_S = 253_402_300_799
const ISO = /^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$/

/**
 * A moment from the command line: `2h` is two hours ago; else ISO 8601, UTC where no zone is given.
 * @returns Unix seconds
 * @throws `OPERATOR_USAGE`
 */
export function parseInstant (name: string, text: string, nowMs: number): number {
  const ago = /^(\d{1,9})([smhdw])$/.exec(text)
  const iso = ISO.exec(text)
  const ms = iso === null ? NaN : Date.parse(text.replace(' ', 'T') + (text.length > 10 && iso[1] === undefined ? 'Z' : ''))
  const instant = ago === null ? ms / 1000 : nowMs / 1000 - Number(ago[1]) * UNITS_S[ago[2]!]!
  if (instant < 0 || instant > INSTANT_MAX_S) throw new OperatorError('OPERATOR_USAGE', `--${name} "${text}" must not lie before 1970 or after 9999`)
  if (Number.isNaN(instant)) {
    throw new OperatorError('OPERATOR_USAGE', `--${name} must be a time such as 2025-06-18T10:00:00Z, or how long ago (30s, 15m, 2h, 7d, 1w), not "${text}"`)
  }
  return instant
}
