/**
 * Limits a log line to one an interval, so that a client cannot fill the log.
 * @returns a function that calls its argument at most once an interval, with the number of calls left out since
 */
export function createLogThrottle ({ intervalMs }: { intervalMs: number }): (call: (leftOut: number) => void) => void {
  let nextMs = 0
  let leftOut = 0
  return (call) => {
    const nowMs = performance.now()
    if (nowMs < nextMs) {
      leftOut++
      return
    }
    nextMs = nowMs + intervalMs
    call(leftOut)
    leftOut = 0
  }
}
