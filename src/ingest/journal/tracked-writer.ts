import type { Writer } from './postgres-writer.ts'

/** A writer that tracks its writes, including those that timed out and still run. */
export interface TrackedWriter extends Writer {
  /** Settles when every write that is under way now has ended. */
  settled (): Promise<void>
}

/**
 * @param mayWrite - returns `null` if a write may begin now; otherwise the write waits for the promise, and fails with
 *   it
 */
export function trackWrites (writer: Writer, mayWrite: () => Promise<void> | null = () => null): TrackedWriter {
  const underWay = new Set<Promise<void>>()
  return {
    write (...args) {
      const waits = mayWrite()
      const write = waits === null ? writer.write(...args) : waits.then(() => writer.write(...args))
      const settled: Promise<void> = write.then(() => {}, () => {}).finally(() => { underWay.delete(settled) })
      underWay.add(settled)
      return write
    },
    async settled () {
      await Promise.all(underWay)
    }
  }
}
