/** Levels of `vital/{device}`. */
const VITAL_LEVELS = 2

/**
 * Who listens to `vital/{device}` now: live subscriptions that can match such a topic, by filter. Most devices subscribe to
 * nothing or to their own `…/rejected`, which matches none, so that most publishes need no fan-out at all.
 */
export class Watchers {
  readonly #listeners = new Map<string, Set<unknown>>()
  /** Filters among them with a wildcard. */
  #wildcards = 0

  add (filter: string, listener: unknown): void {
    if (!canMatchVital(filter)) return
    let listeners = this.#listeners.get(filter)
    if (listeners === undefined) {
      listeners = new Set()
      this.#listeners.set(filter, listeners)
      if (hasWildcard(filter)) this.#wildcards++
    }
    listeners.add(listener)
  }

  remove (filter: string, listener: unknown): void {
    const listeners = this.#listeners.get(filter)
    if (listeners === undefined || !listeners.delete(listener) || listeners.size > 0) return
    this.#listeners.delete(filter)
    if (hasWildcard(filter)) this.#wildcards--
  }

  /** @param topic - `vital/{device}`; true may be wrong, false never is */
  has (topic: string): boolean {
    return this.#wildcards > 0 || this.#listeners.has(topic)
  }
}

function hasWildcard (filter: string): boolean {
  return /[+#]/.test(filter)
}

/** Whether `filter` can match a topic of two levels, the first of them `vital` (`vital/x/#` matches `vital/x` [MQTT-4.7.1-2]). */
function canMatchVital (filter: string): boolean {
  const levels = filter.split('/')
  const [first] = levels
  if (first === '#') return true
  if (first !== 'vital' && first !== '+') return false
  const isOpen = levels.at(-1) === '#'
  return isOpen ? levels.length <= VITAL_LEVELS + 1 : levels.length === VITAL_LEVELS
}
