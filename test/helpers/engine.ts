import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'
import { THROUGH } from './kafka.ts'
import { until } from './until.ts'

export interface Engine {
  start (): Promise<void>
  /** Ends it with SIGKILL. */
  kill (): Promise<void>
  freeze (): void
  thaw (): void
}

/**
 * A third-party program that serves HTTP, ended with the test.
 * @param command - the program and its arguments
 * @param url - answers 2xx once the program is ready
 */
export async function startEngine (t: Test, command: readonly string[], url: string): Promise<Engine> {
  let child: ChildProcess | null = null
  async function start (): Promise<void> {
    const [program = '', ...args] = [...THROUGH, ...command]
    child = spawn(program, args, { stdio: process.env['LOG'] === undefined ? 'ignore' : 'inherit', detached: true })
    await until(async () => {
      if (child!.exitCode !== null) throw new Error(`${command[0]} ended`)
      return (await fetch(url)).ok
    }, `${command[0]} answers`)
  }
  async function kill (): Promise<void> {
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }
  t.teardown(kill)
  await start()
  return { start, kill, freeze () { child?.kill('SIGSTOP') }, thaw () { child?.kill('SIGCONT') } }
}
