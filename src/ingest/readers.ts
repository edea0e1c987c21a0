import type { Broker } from '../../broker/broker.ts'

/** Reads from publishers, and stops while the buffer is full or nothing can be made durable. */
export type Reader = Pick<Broker, 'pauseReading' | 'resumeReading'>

/** All readers of publishers, as one. */
export function createReaders () {
  const readers: Reader[] = []
  let isClosed = false

  function tell (reader: Reader): void {
    if (isClosed) reader.pauseReading()
    else reader.resumeReading()
  }

  return {
    add (reader: Reader): void {
      readers.push(reader)
      if (isClosed) tell(reader)
    },
    /** @param isNowClosed - whether all of them stop reading */
    press (isNowClosed: boolean): void {
      isClosed = isNowClosed
      for (const reader of readers) tell(reader)
    }
  }
}
