const BEAT_MS = 20
const BEATS_PER_SAMPLE = 12

/**
 * Beats in the harness's own process, which has little to do: what a beat is late by, the machine took from everyone.
 */
export class Pulse {
  readonly #timer: NodeJS.Timeout
  #lastMs = performance.now()
  #beats = 0
  longestPauseMs = 0

  /** @param onSample - called four times a second */
  constructor (onSample: () => void) {
    this.#timer = setInterval(() => {
      const nowMs = performance.now()
      this.longestPauseMs = Math.max(this.longestPauseMs, nowMs - this.#lastMs - BEAT_MS)
      this.#lastMs = nowMs
      if (this.#beats++ % BEATS_PER_SAMPLE === 0) onSample()
    }, BEAT_MS)
  }

  stop (): void {
    clearInterval(this.#timer)
  }
}
