/**
 * A result that is there already, for Aedes' `persistence.x().then(done, failed)`.
 *
 * A promise would let a later publish overtake an earlier one: Aedes numbers a packet, waits for the persistence,
 * then emits, and a subscriber drops every number lower than the last it saw (`dedupe` in lib/client.js). Two publishes
 * of one turn, the first retained or QoS 1 and the second neither, and the first was lost.
 */
export function settled<T> (value: T): PromiseLike<T> {
  return {
    then (fulfilled) {
      return settled(fulfilled?.(value)) as PromiseLike<never>
    }
  }
}

/** {@link settled} with nothing to tell. */
export const SETTLED: PromiseLike<void> = settled(undefined)

/** A rejection that is there already. */
export function refused (error: Error): PromiseLike<never> {
  return {
    then (_fulfilled, rejected) {
      return settled(rejected?.(error)) as PromiseLike<never>
    }
  }
}
