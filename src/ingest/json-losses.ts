/**
 * Finds data that JSON.parse loses silently: digits of a number that a double does not keep (`9007199254740993`,
 * `1e-400`), and all but the last value of a name given twice. A reading that loses data is refused with the name of
 * the field; an acknowledged reading is stored as it was sent.
 *
 * One scan clears an ordinary text: it has no number of more than 15 digits or with an exponent, and as many colons
 * outside of strings as the parsed value has names. A suspect number is compared digit by digit. Only a text that does
 * lose data is walked for the places.
 */
import { type Fault, FAULTS_MAX, toPointerToken } from '../../schemas/fault.ts'
import { walkJson } from './json-walk.ts'

/** A decimal with up to this many digits comes back from a double unchanged (DBL_DIG). */
const EXACT_DIGITS = 15

const SPACE = 0x20
const QUOTE = 0x22
const COLON = 0x3a
const BACKSLASH = 0x5c

/** Values that nest deeper are walked instead of counted. */
const COUNTED_DEPTH_MAX = 40

const TIMESTAMP = Buffer.from('"timestamp"')

const TOO_PRECISE = 'must be a number that a double keeps digit by digit, as it keeps any of 15 digits; send a ' +
  'longer one as a string'
const SECOND_NAME = 'is given twice'

/** The faults of each element of an array, by its index; those of a value that is not an array are at -1. */
export type Losses = ReadonlyMap<number, readonly Fault[]>

/**
 * @param text - accepted by JSON.parse
 * @param value - the parsed value
 * @param bytes - the text in UTF-8
 * @returns `null` where nothing was lost
 */
export function findLosses (text: string, value: unknown, bytes: Buffer): Losses | null {
  const isArray = Array.isArray(value)
  const scanned = scan(bytes, isArray ? 2 : 1)
  if (scanned === -1) return locate(text)
  const names = scanned % 2 === 1
    ? countNames(value, 0)
    : isArray ? countFlat(value) : typeof value === 'object' && value !== null ? Object.keys(value).length : 0
  return names === scanned >> 1 ? null : locate(text)
}

/**
 * Reads bytes, which takes half the time of `charCodeAt`. It looks for ASCII characters only, and their bytes do not
 * occur within other characters of UTF-8.
 * @param fieldDepth - brackets around a field of a reading
 * @returns twice the number of colons outside of strings, plus one if a value nests deeper than `fieldDepth`; -1 if a
 *   double does not keep one of the numbers
 */
function scan (bytes: Buffer, fieldDepth: number): number {
  let colons = 0
  let depth = 0
  let isNested = 0
  const { length } = bytes
  for (let at = 0; at < length; at++) {
    const code = bytes[at]!
    if (code === QUOTE) {
      for (at++; at < length; at++) {
        const inner = bytes[at]!
        if (inner === QUOTE) break
        if (inner === BACKSLASH) at++
      }
    } else if (code >= 0x30 && code <= 0x39) {
      const start = at
      let digits = 1
      let hasExponent = false
      for (at++; at < length; at++) {
        const inner = bytes[at]!
        if (inner >= 0x30 && inner <= 0x39) digits++
        else if (inner === 0x65 || inner === 0x45) hasExponent = true
        else if (inner !== 0x2e && !(hasExponent && (inner === 0x2b || inner === 0x2d))) break
      }
      if ((digits > EXACT_DIGITS || hasExponent) &&
        !(depth === fieldDepth && !hasExponent && isOfTimestamp(bytes, start)) &&
        !isKept(bytes.toString('latin1', start, at))) return -1
      at--
    } else if (code === COLON) {
      colons++
    } else if (code === 0x7b || code === 0x5b) {
      if (++depth > fieldDepth) isNested = 1
    } else if (code === 0x7d || code === 0x5d) {
      depth--
    }
  }
  return colons * 2 + isNested
}

/**
 * Whether a number is a timestamp: that is rounded to the microsecond, so it may lose digits.
 * @param at - of its first digit
 */
function isOfTimestamp (bytes: Buffer, at: number): boolean {
  let end = skipSpaceBefore(bytes, at)
  if (bytes[end - 1] !== COLON) return false
  end = skipSpaceBefore(bytes, end - 1)
  const start = end - TIMESTAMP.length
  for (let index = 0; index < TIMESTAMP.length; index++) if (bytes[start + index] !== TIMESTAMP[index]) return false
  return bytes[start - 1] !== BACKSLASH
}

/** @returns the offset at which the spaces before `end` begin */
function skipSpaceBefore (bytes: Buffer, end: number): number {
  while (end > 0 && bytes[end - 1]! <= SPACE) end--
  return end
}

/** Whether a double keeps the number, digit by digit. A number too large for a double is reported elsewhere. */
function isKept (token: string): boolean {
  const value = Math.abs(Number(token))
  return value === Infinity || toDecimal(token) === toDecimal(String(value))
}

/** One spelling of each number: digits without zeros at either end, and the power of ten of the last one. */
function toDecimal (text: string): string {
  const unsigned = text.startsWith('-') ? text.slice(1) : text
  const [mantissa = '', exponent = '0'] = unsigned.toLowerCase().split('e')
  const point = mantissa.indexOf('.')
  const digits = point === -1 ? mantissa : mantissa.slice(0, point) + mantissa.slice(point + 1)
  let start = 0
  let end = digits.length
  while (start < end && digits.charCodeAt(start) === 0x30) start++
  while (end > start && digits.charCodeAt(end - 1) === 0x30) end--
  const power = Number(exponent) - (point === -1 ? 0 : mantissa.length - point - 1) + digits.length - end
  return start === end ? '0' : `${digits.slice(start, end)}e${power}`
}

function countFlat (elements: readonly unknown[]): number {
  let names = 0
  for (const element of elements) {
    // The keys of an array are not names: counted, they would hide as many duplicate names.
    if (typeof element === 'object' && element !== null && !Array.isArray(element)) names += Object.keys(element).length
  }
  return names
}

/** @returns -1 if the value is too deep to be counted */
function countNames (value: unknown, depth: number): number {
  if (typeof value !== 'object' || value === null) return 0
  if (depth > COUNTED_DEPTH_MAX) return -1
  let names = 0
  if (Array.isArray(value)) {
    for (const element of value as unknown[]) {
      if (typeof element !== 'object' || element === null) continue
      const inner = countNames(element, depth + 1)
      if (inner === -1) return -1
      names += inner
    }
    return names
  }
  for (const name in value) {
    names++
    const member = (value as Record<string, unknown>)[name]
    if (typeof member !== 'object' || member === null) continue
    const inner = countNames(member, depth + 1)
    if (inner === -1) return -1
    names += inner
  }
  return names
}

function locate (text: string): Losses | null {
  const losses = new Map<number, Fault[]>()
  let count = 0
  const add = (path: ReadonlyArray<string | number>, message: string) => {
    const element = typeof path[0] === 'number' ? path[0] : -1
    const faults = losses.get(element)
    // Each faulty element is refused, however many of its faults are reported.
    if (faults !== undefined && ++count > FAULTS_MAX) return
    const fault = { path: path.map((token) => `/${toPointerToken(String(token))}`).join(''), message }
    if (faults === undefined) losses.set(element, [fault])
    else if (faults.at(-1)?.path !== fault.path) faults.push(fault)
  }
  walkJson(text, {
    onNumber (token, path) {
      const fieldDepth = typeof path[0] === 'number' ? 2 : 1
      const isTimestamp = path.at(-1) === 'timestamp' && path.length === fieldDepth && !/e/i.test(token)
      if (!isTimestamp && !isKept(token)) add(path, TOO_PRECISE)
    },
    onSecondName: (path) => { add(path, SECOND_NAME) }
  })
  return losses.size === 0 ? null : losses
}
