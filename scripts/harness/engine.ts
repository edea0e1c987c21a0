import type { ChildProcess, StdioOptions } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { basename, join } from 'node:path'
import { until } from './until.ts'

/** A Kafka broker whose disk was full checks its log when it starts: up to 37 s on a busy machine. */
const START_TIMEOUT_MS = 180_000

/** A program of a third party, in its own process. */
export interface Engine {
  /** `null`: it does not run. */
  readonly pid: number | null
  start (): Promise<void>
  kill (): Promise<void>
  freeze (): void
  thaw (): void
  /** Also false when it has ended by itself. */
  isRunning (): boolean
}

/** Starts programs of third parties, and ends them however the run ends. */
export interface Owner {
  spawn (
    file: string, args: readonly string[], options: { cwd: string, env?: Readonly<Record<string, string>>, stdio: StdioOptions }
  ): ChildProcess
}

interface EngineOptions {
  readonly belongings: Owner
  readonly file: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly dir: string
  readonly isUp: () => Promise<boolean>
}

export function createEngine ({ belongings, file, args, env = {}, dir, isUp }: EngineOptions): Engine {
  let child: ChildProcess | null = null
  return {
    get pid () { return child?.pid ?? null },

    async start () {
      const log = openSync(join(dir, `${basename(file)}.log`), 'a', 0o600)
      child = belongings.spawn(file, args, { cwd: dir, env, stdio: ['ignore', log, log] })
      closeSync(log)
      if (await until(() => isUp().catch(() => false), START_TIMEOUT_MS) === null) throw new Error(`${file} did not start`)
    },
    async kill () {
      const ending = child
      child = null
      if (ending === null || ending.exitCode !== null || ending.signalCode !== null) return
      const exited = new Promise((resolve) => { ending.once('exit', resolve) })
      ending.kill('SIGKILL')
      await exited
    },
    freeze () { child?.kill('SIGSTOP') },
    thaw () { child?.kill('SIGCONT') },
    isRunning: () => child !== null && child.exitCode === null && child.signalCode === null
  }
}
