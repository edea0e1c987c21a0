/** `000` to `999`, as they stand within a fraction. */
const THREE_DIGITS = Array.from({ length: 1000 }, (_, number) => String(number).padStart(3, '0'))
/** The same at its end. */
const LAST_DIGITS = THREE_DIGITS.map((digits) => digits.replace(/0+$/, ''))

/** Beyond 2^32 seconds, doubles are too far apart for six digits to be the shortest. */
const TIME_US_MAX = 2 ** 32 * 1e6

let knownSeconds = 0
let knownText = '0'

/**
 * `String(timeUs / 1e6)`, but twice as fast, and without an entry in V8's cache of numbers, which would outlive the
 * reading.
 * @param timeUs - Unix microseconds, a whole number that is not negative
 */
export function toUnixSeconds (timeUs: number): string {
  if (timeUs >= TIME_US_MAX) return String(timeUs / 1e6)
  const seconds = Math.floor(timeUs / 1e6)
  if (seconds !== knownSeconds) {
    knownSeconds = seconds
    knownText = String(seconds)
  }
  const fraction = timeUs - seconds * 1e6
  if (fraction === 0) return knownText
  const last = fraction % 1000
  const first = (fraction - last) / 1000
  return last === 0 ? `${knownText}.${LAST_DIGITS[first]}` : `${knownText}.${THREE_DIGITS[first]}${LAST_DIGITS[last]}`
}
