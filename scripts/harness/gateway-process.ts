import type { ChildProcess } from 'node:child_process'
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { readPeakRssBytes } from './process-stat.ts'
import type { Belongings } from './belongings.ts'

const READY_POLL_MS = 15
const EXIT_TIMEOUT_MS = 20_000

export interface GatewayProcessOptions {
  readonly belongings: Belongings
  /** The command before the program: `strace …`, or nothing. */
  readonly wrapper?: readonly string[]
  /** The Node.js that runs it; this one by default. */
  readonly node?: string | undefined
  readonly args: readonly string[]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  /** A file, because a pipe would block the gateway while the harness is busy. */
  readonly logPath: string
}

/** One life of a gateway. */
export class GatewayProcess {
  readonly #child: ChildProcess
  readonly #logPath: string
  readonly exited: Promise<{ code: number | null, signal: NodeJS.Signals | null }>
  readonly startedAtMs = performance.now()
  #isGone = false
  #isReady = false
  peakRssBytes = 0
  peakDescriptors = 0
  /** Whether the harness wants it to end. */
  isEnding = false

  constructor (options: GatewayProcessOptions) {
    const { belongings, wrapper = [], node = process.execPath, args, cwd, env, logPath } = options
    this.#logPath = logPath
    const log = openSync(logPath, 'w', 0o600)
    const [file = process.execPath, ...rest] = [...wrapper, node, ...args]
    this.#child = belongings.spawn(file, rest, { cwd, env, stdio: ['ignore', log, log] })
    closeSync(log)
    this.exited = new Promise((resolve) => {
      const end = (code: number | null, signal: NodeJS.Signals | null) => {
        this.#isGone = true
        resolve({ code, signal })
      }
      this.#child.once('exit', end)
      this.#child.once('error', () => end(null, null))
    })
  }

  get pid (): number { return this.#child.pid ?? 0 }

  get isGone (): boolean { return this.#isGone }

  /** Its log: one object for each line; a line that is not JSON is the `msg` of its object. */
  logged (): Array<Record<string, unknown> & { level?: number, msg?: string }> {
    return readFileSync(this.#logPath, 'utf8').split('\n').filter((line) => line !== '').map((line) => {
      try {
        return JSON.parse(line) as Record<string, unknown>
      } catch {
        return { msg: line }
      }
    })
  }

  /** @returns milliseconds from the start to `ready`; throws with the log's tail when it does not come */
  async waitReady (timeoutMs: number): Promise<number> {
    for (;;) {
      if (readFileSync(this.#logPath, 'utf8').includes('"msg":"ready"')) {
        this.#isReady = true
        return performance.now() - this.startedAtMs
      }
      const waitedMs = performance.now() - this.startedAtMs
      if (this.#isGone || waitedMs > timeoutMs) {
        const what = this.#isGone ? 'ended before it was ready' : `was not ready in ${timeoutMs} ms`
        throw new Error(`the gateway ${what}:\n${this.tail()}`)
      }
      await sleep(READY_POLL_MS)
    }
  }

  tail (): string {
    return readFileSync(this.#logPath, 'utf8').trim().split('\n').slice(-8).join('\n')
  }

  /** Notes memory and descriptors as they are now. */
  sample (): void {
    if (this.#isGone || process.platform !== 'linux') return
    try {
      this.peakRssBytes = Math.max(this.peakRssBytes, readPeakRssBytes(this.pid) ?? 0)
      // While modules load, hundreds of files are open at once.
      if (this.#isReady) this.peakDescriptors = Math.max(this.peakDescriptors, readdirSync(`/proc/${this.pid}/fd`).length)
    } catch (error) {
      // It has ended meanwhile.
      if (!['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
    }
  }

  signal (name: NodeJS.Signals): void {
    this.sample()
    this.#child.kill(name)
  }

  async kill (): Promise<void> {
    this.isEnding = true
    this.signal('SIGKILL')
    await this.exited
  }

  /** SIGTERM, as an operator would. @returns how it ended, and after how long; `null` when it had to be killed */
  async stop (): Promise<{ code: number | null, tookMs: number }> {
    this.isEnding = true
    const startMs = performance.now()
    this.signal('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), EXIT_TIMEOUT_MS)
    const { code } = await this.exited
    clearTimeout(timer)
    return { code, tookMs: performance.now() - startMs }
  }
}
