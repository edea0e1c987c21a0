/**
 * Simulated time, which passes only on demand. `mock.timers` of node:test is not enough: on Node 20 it does not replace
 * performance.now or the imported `setTimeout` of node:timers/promises. It also cannot drop the timers of one process and keep
 * those of its surroundings.
 *
 * Must be imported before the modules that use what it replaces: the codec of the spool binds deflate and inflate when it is
 * loaded, and the order in which libuv's threads finish cannot be repeated from a seed.
 */
import { syncBuiltinESMExports } from 'node:module'
import timersPromises from 'node:timers/promises'
import zlib from 'node:zlib'
import type { Random } from '../../../scripts/harness/random.ts'

/** Unix milliseconds at which every schedule begins. */
const EPOCH_MS = 1_750_000_000_000

const realImmediate = globalThis.setImmediate
const real = {
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  setInterval: globalThis.setInterval,
  clearInterval: globalThis.clearInterval,
  setImmediate: globalThis.setImmediate,
  clearImmediate: globalThis.clearImmediate
}
const realNow = performance.now
const realDateNow = Date.now
const realRandom = Math.random
const realSleep = timersPromises.setTimeout

type Callback = (error: Error | null, result: Buffer) => void
zlib.deflateRaw = ((bytes: Buffer, options: zlib.ZlibOptions, callback: Callback) => {
  setImmediate(() => callback(null, zlib.deflateRawSync(bytes, options)))
}) as typeof zlib.deflateRaw
zlib.inflateRaw = ((bytes: Buffer, options: zlib.ZlibOptions, callback: Callback) => {
  setImmediate(() => callback(null, zlib.inflateRawSync(bytes, options)))
}) as typeof zlib.inflateRaw
syncBuiltinESMExports()

class Timer {
  dueMs: number
  order: number
  readonly run: () => void
  readonly everyMs: number | null
  readonly isOfWorld: boolean

  constructor (dueMs: number, order: number, run: () => void, everyMs: number | null, isOfWorld: boolean) {
    this.dueMs = dueMs
    this.order = order
    this.run = run
    this.everyMs = everyMs
    this.isOfWorld = isOfWorld
  }

  ref (): this { return this }
  unref (): this { return this }
}

/** Settles when every microtask that can run now has run. */
export function settleMicrotasks (): Promise<void> {
  return new Promise((resolve) => { realImmediate(resolve) })
}

export class VirtualTime {
  #nowMs = 0
  #order = 0
  #timers: Timer[] = []
  #fired = 0

  get nowMs (): number {
    return this.#nowMs
  }

  /** The number of timers that have run. */
  get fired (): number {
    return this.#fired
  }

  /** A timer outside the process, such as one of the database. It survives a crash of the process. */
  later (ms: number, run: () => void): void {
    this.#add(ms, run, null, true)
  }

  /** Drops the timers of a process that died. */
  dropProcess (): void {
    this.#timers = this.#timers.filter(({ isOfWorld }) => isOfWorld)
  }

  /** Runs the timers that are due within `ms`, one after the other. `afterEach` runs when the microtasks of a timer have ended. */
  async advance (ms: number, afterEach: () => void): Promise<void> {
    const endMs = this.#nowMs + ms
    for (;;) {
      await settleMicrotasks()
      afterEach()
      if (!this.fireNext(endMs)) break
    }
    this.#nowMs = endMs
  }

  /** Runs the next timer that is due by `endMs`, and leaves its microtasks to the caller. */
  fireNext (endMs = Infinity): boolean {
    let next: Timer | null = null
    for (const timer of this.#timers) {
      if (next === null || timer.dueMs < next.dueMs || (timer.dueMs === next.dueMs && timer.order < next.order)) next = timer
    }
    if (next === null || next.dueMs > endMs) return false
    this.#nowMs = Math.max(this.#nowMs, next.dueMs)
    this.#fired++
    if (next.everyMs === null) {
      this.#remove(next)
    } else {
      next.dueMs = this.#nowMs + next.everyMs
      next.order = this.#order++
    }
    next.run()
    return true
  }

  /** Replaces the clocks, timers and random numbers of this process until `uninstall`. */
  install (random: Random): void {
    const clear = (timer: unknown) => { this.#remove(timer as Timer) }
    const toMs = (ms: number | undefined) => Math.max(1, Math.trunc(ms ?? 1))
    Object.assign(globalThis, {
      setTimeout: (run: () => void, ms?: number) => this.#add(toMs(ms), run, null, false),
      setInterval: (run: () => void, ms?: number) => this.#add(toMs(ms), run, toMs(ms), false),
      setImmediate: (run: () => void) => this.#add(0, run, null, false),
      clearTimeout: clear,
      clearInterval: clear,
      clearImmediate: clear
    })
    timersPromises.setTimeout = this.#sleep.bind(this) as typeof timersPromises.setTimeout
    syncBuiltinESMExports()
    performance.now = () => this.#nowMs
    Date.now = () => EPOCH_MS + Math.trunc(this.#nowMs)
    Math.random = () => random.next()
  }

  uninstall (): void {
    Object.assign(globalThis, real)
    timersPromises.setTimeout = realSleep
    syncBuiltinESMExports()
    performance.now = realNow
    Date.now = realDateNow
    Math.random = realRandom
  }

  #sleep (ms: number, value?: unknown, { signal }: { signal?: AbortSignal } = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const abort = () => {
        clearTimeout(timer)
        reject(Object.assign(new Error('The operation was aborted'), { name: 'AbortError', code: 'ABORT_ERR' }))
      }
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', abort)
        resolve(value)
      }, ms)
      if (signal?.aborted === true) abort()
      else signal?.addEventListener('abort', abort, { once: true })
    })
  }

  #add (ms: number, run: () => void, everyMs: number | null, isOfWorld: boolean): Timer {
    const timer = new Timer(this.#nowMs + ms, this.#order++, run, everyMs, isOfWorld)
    this.#timers.push(timer)
    return timer
  }

  #remove (timer: Timer): void {
    const index = this.#timers.indexOf(timer)
    if (index >= 0) this.#timers.splice(index, 1)
  }
}
