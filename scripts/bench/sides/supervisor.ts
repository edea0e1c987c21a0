import { type ChildProcess, fork, spawn, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findPostmaster } from '../../harness/process-stat.ts'

/** Time that a child has for an orderly end; the gateway's own deadline is 15 s. */
const STOP_TIMEOUT_MS = 20_000

/** Nothing of the caller's environment may change a measurement: no NODE_OPTIONS, no VITAL_*, no DATABASE_URL. */
const ENVIRONMENT = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' }

/** Starts the bench's processes and directories, and ends them on every way out. */
export class Supervisor {
  #children = new Set<ChildProcess>()
  #dirs = new Set<string>()
  #stopping: Promise<void> | null = null

  constructor () {
    process.on('exit', () => this.#abandon())
    for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]] as const) {
      process.on(signal, () => {
        // A second signal does not wait for an orderly end.
        if (this.#stopping !== null) process.exit(code)
        console.error(`\n${signal}: stopping what the bench has started`)
        this.stopAll().then(() => process.exit(code), (error: unknown) => {
          console.error(error)
          process.exit(code)
        })
      })
    }
  }

  /** Whether a signal has asked the bench to end. */
  get stopping (): boolean { return this.#stopping !== null }

  /** One of the bench's own compiled files, in plain node. */
  fork (file: string, args: readonly string[] = []): ChildProcess {
    return this.#keep(fork(file, args, { env: ENVIRONMENT, execArgv: [], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }))
  }

  spawn (
    file: string, args: readonly string[], options: { cwd: string, env?: Readonly<Record<string, string>>, stdio: StdioOptions }
  ): ChildProcess {
    return this.#keep(spawn(file, args, { ...options, env: { ...ENVIRONMENT, ...options.env } }))
  }

  /** A program that is not part of the gateway; its output is discarded. */
  spawnProgram (file: string, args: readonly string[]): ChildProcess {
    return this.spawn(file, args, { cwd: '/', stdio: 'ignore' })
  }

  /** A new directory below `parent`, by default the system's temporary one. */
  createDir (parent = tmpdir()): string {
    const dir = mkdtempSync(join(parent, 'vital-bench-'))
    this.#dirs.add(dir)
    return dir
  }

  #keep (child: ChildProcess): ChildProcess {
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
    return child
  }

  /** Asks `child` to end and waits; kills it when it does not in time. Settles with its exit code, `null` after a signal. */
  async stop (child: ChildProcess): Promise<number | null> {
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode
    const exited = once(child, 'exit')
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
    child.kill('SIGTERM')
    await exited
    clearTimeout(timer)
    return child.exitCode
  }

  /** Removes a directory of {@link createDir}; a PostgreSQL that was left running in it is killed first. */
  removeDir (dir: string): void {
    if (!this.#dirs.delete(dir)) return
    const postmaster = findPostmaster(dir)
    if (postmaster !== null) killPostmaster(postmaster)
    rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  }

  stopAll (): Promise<void> {
    this.#stopping ??= Promise.all([...this.#children].map((child) => this.stop(child))).then(() => {
      for (const dir of this.#dirs) this.removeDir(dir)
    })
    return this.#stopping
  }

  #abandon (): void {
    for (const child of this.#children) child.kill('SIGKILL')
    for (const dir of this.#dirs) this.removeDir(dir)
  }
}

function killPostmaster (pid: number): void {
  try {
    process.kill(pid, 'SIGQUIT')
    for (let waited = 0; waited < 50; waited++) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100)
      process.kill(pid, 0)
    }
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    // ESRCH: it has gone.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
