/**
 * Calls through at most once per interval, so that a client cannot fill the log.
 * @returns a function that tells its callee how many calls were left out since the last
 */
export function createOccasional ({ intervalMs }: { intervalMs: number }): (call: (leftOut: number) => void) => void {
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
