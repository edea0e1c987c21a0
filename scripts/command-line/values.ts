/**
 * Values from the command line. Each parser is given the name of its option, and throws one kind of error, whose message
 * names the option, the bounds and the value.
 */
import { Option } from 'commander'
import { usageError } from './operator-error.ts'

const UNITS_S: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 }
/** The end of the year 9999: PostgreSQL may refuse a later one. */
const INSTANT_MAX_S = 253_402_300_799
const ISO = /^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$/

export interface Bounds {
  readonly min: number
  /** Left out: there is no largest one. */
  readonly max?: number
  readonly isWhole?: boolean
}

/** Of `--limit` in lists. */
export const LIST_LIMIT: Bounds = { min: 1, max: 100_000, isWhole: true }

/** @throws `OPERATOR_USAGE` */
export function parseNumber (name: string, text: string, { min, max = Infinity, isWhole = false }: Bounds): number {
  const value = text.trim() === '' ? NaN : Number(text)
  if (value >= min && value <= max && Number.isFinite(value) && (!isWhole || Number.isSafeInteger(value))) return value
  const range = max === Infinity ? `of at least ${min}` : `from ${min} to ${max}`
  throw usageError(`--${name} must be a ${isWhole ? 'whole ' : ''}number ${range}, not "${text}"`)
}

/**
 * `90`, `30m`, `24h`, `7d`: seconds where no unit is given.
 * @returns seconds
 * @throws `OPERATOR_USAGE`
 */
export function parseDuration (name: string, text: string, { maxS, maxName }: {
  readonly maxS: number
  /** The longest duration in the words of the message. */
  readonly maxName: string
}): number {
  const [, count, unit = 's'] = /^(\d{1,9})([smhdw])?$/.exec(text) ?? []
  const seconds = Number(count) * (UNITS_S[unit] ?? NaN)
  if (seconds <= maxS) return seconds
  throw usageError(`--${name} must be a time such as 30m, 24h or 7d, of ${maxName} at most, not "${text}"`)
}

/**
 * `2h` is two hours ago; else ISO 8601, UTC where no zone is given.
 * @returns Unix seconds
 * @throws `OPERATOR_USAGE`
 */
export function parseInstant (name: string, text: string, nowMs: number): number {
  const ago = /^(\d{1,9})([smhdw])$/.exec(text)
  const iso = ISO.exec(text)
  const ms = iso === null ? NaN : Date.parse(text.replace(' ', 'T') + (text.length > 10 && iso[1] === undefined ? 'Z' : ''))
  const instant = ago === null ? ms / 1000 : nowMs / 1000 - Number(ago[1]) * UNITS_S[ago[2]!]!
  if (instant < 0 || instant > INSTANT_MAX_S) throw usageError(`--${name} "${text}" must not lie before 1970 or after 9999`)
  if (Number.isNaN(instant)) {
    throw usageError(`--${name} must be a time such as 2025-06-18T10:00:00Z, or how long ago (30s, 15m, 2h, 7d, 1w), not "${text}"`)
  }
  return instant
}

/**
 * `a,b` as a list of names.
 * @param known - those that may be named; `null` for every name
 * @throws `OPERATOR_USAGE`
 */
export function parseList<T extends string> (name: string, text: string, known: readonly T[]): T[]
export function parseList (name: string, text: string, known: null): string[]
export function parseList (name: string, text: string, known: readonly string[] | null): string[] {
  const items = [...new Set(text.split(',').map((item) => item.trim()))]
  const unknown = items.find((item) => item === '' || (known !== null && !known.includes(item)))
  if (unknown === undefined) return items
  throw usageError(`--${name} knows no "${unknown}"${known === null ? '' : `; it takes ${known.join(', ')}`}`)
}

/** An option that takes a number. */
export function numberOption (flags: string, description: string, bounds: Bounds): Option {
  const option = new Option(flags, description)
  return option.argParser((text) => parseNumber(option.name(), text, bounds))
}

/** An option that takes a time span, in seconds where no unit is given. */
export function durationOption (flags: string, description: string, bounds: Parameters<typeof parseDuration>[2]): Option {
  const option = new Option(flags, description)
  return option.argParser((text) => parseDuration(option.name(), text, bounds))
}

/** An option that takes an instant. */
export function instantOption (flags: string, description: string, nowMs = Date.now()): Option {
  const option = new Option(flags, description)
  return option.argParser((text) => parseInstant(option.name(), text, nowMs))
}

/** An option that takes names, separated by commas. */
export function listOption (flags: string, description: string, known: readonly string[] | null): Option {
  const option = new Option(flags, description)
  return option.argParser((text) => known === null ? parseList(option.name(), text, known) : parseList(option.name(), text, known))
}
