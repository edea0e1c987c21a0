import { readFileSync } from 'node:fs'

const BEAT_MS = 20
const BEATS_PER_SAMPLE = 12

/** Samples in two seconds. */
const SAMPLES_PER_WINDOW = 8

/** Milliseconds that the main thread of a process was ready to run and had no core (proc(5), schedstat); 0 elsewhere. */
function readWaitedMs (pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[1]) / 1e6
  } catch {
    // The process has ended, or /proc is missing.
    return 0
  }
}

/**
 * How much of a stall the machine may have caused. Beats in the harness's own process, which has little to do: by as
 * much as a beat is late, the machine held up everyone. Adds how long the gateway was ready to run and had no core,
 * within any two seconds.
 */
export class Pulse {
  readonly #timer: NodeJS.Timeout
  #lastMs = performance.now()
  #beats = 0
  readonly #waitedMs: number[] = []
  #longestLateMs = 0
  #longestWaitMs = 0

  /**
   * @param pid - of the gateway
   * @param onSample - called four times a second
   */
  constructor (pid: number, onSample: () => void) {
    this.#timer = setInterval(() => {
      const nowMs = performance.now()
      this.#longestLateMs = Math.max(this.#longestLateMs, nowMs - this.#lastMs - BEAT_MS)
      this.#lastMs = nowMs
      if (this.#beats++ % BEATS_PER_SAMPLE === 0) {
        this.#noteWait(readWaitedMs(pid))
        onSample()
      }
    }, BEAT_MS)
  }

  /** Milliseconds. */
  get longestPauseMs (): number {
    return this.#longestLateMs + this.#longestWaitMs
  }

  #noteWait (waitedMs: number): void {
    if (waitedMs === 0) return
    this.#waitedMs.push(waitedMs)
    if (this.#waitedMs.length > SAMPLES_PER_WINDOW) this.#waitedMs.shift()
    this.#longestWaitMs = Math.max(this.#longestWaitMs, waitedMs - this.#waitedMs[0]!)
  }

  stop (): void {
    clearInterval(this.#timer)
  }
}
