/**
 * Results that are available in the same turn, for Aedes' `persistence.x().then(done, failed)`.
 *
 * With a promise a later publish overtakes an earlier one: Aedes numbers a packet, waits for the persistence, then
 * emits, and a subscriber drops every number lower than the last it saw (`dedupe` in lib/client.js). Of two publishes
 * in one turn, the first retained or QoS 1 and the second neither, the first would be lost.
 */
export function syncResolved<T> (value: T): PromiseLike<T> {
  return {
    then (fulfilled) {
      return syncResolved(fulfilled?.(value)) as PromiseLike<never>
    }
  }
}

/** {@link syncResolved} without a value. */
export const syncDone: PromiseLike<void> = syncResolved(undefined)

/** A rejection in the same turn. */
export function syncRejected (error: Error): PromiseLike<never> {
  return {
    then (_fulfilled, rejected) {
      return syncResolved(rejected?.(error)) as PromiseLike<never>
    }
  }
}
