/** Levels of `vital/{device}`. */
const VITAL_LEVELS = 2

/**
 * Live subscriptions that can match `vital/{device}`, by filter. Most devices subscribe to nothing or to their own
 * `…/rejected`, which matches no such topic, so most publishes need no fan-out at all.
 */
export class WatchedTopics {
  readonly #subscribers = new Map<string, Set<unknown>>()
  /** Filters among them with a wildcard. */
  #wildcards = 0

  add (filter: string, subscriber: unknown): void {
    if (!canMatchVital(filter)) return
    let subscribers = this.#subscribers.get(filter)
    if (subscribers === undefined) {
      subscribers = new Set()
      this.#subscribers.set(filter, subscribers)
      if (hasWildcard(filter)) this.#wildcards++
    }
    subscribers.add(subscriber)
  }

  remove (filter: string, subscriber: unknown): void {
    const subscribers = this.#subscribers.get(filter)
    if (subscribers === undefined || !subscribers.delete(subscriber) || subscribers.size > 0) return
    this.#subscribers.delete(filter)
    if (hasWildcard(filter)) this.#wildcards--
  }

  /** @param topic - `vital/{device}`; true may be wrong, false never is */
  has (topic: string): boolean {
    return this.#wildcards > 0 || this.#subscribers.has(topic)
  }
}

function hasWildcard (filter: string): boolean {
  return /[+#]/.test(filter)
}

/**
 * Whether `filter` can match a topic of two levels, the first of them `vital` (`vital/x/#` matches `vital/x`
 * [MQTT-4.7.1-2]).
 */
function canMatchVital (filter: string): boolean {
  const levels = filter.split('/')
  const [first] = levels
  if (first === '#') return true
  if (first !== 'vital' && first !== '+') return false
  const isOpen = levels.at(-1) === '#'
  return isOpen ? levels.length <= VITAL_LEVELS + 1 : levels.length === VITAL_LEVELS
}
