import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { LOADER, toProgram } from '../../../helpers/program.ts'

const CHILD = toProgram('test/ingest/journal/spool/child.ts')

/** Starts `child.ts`, killed when the test ends. @param limits - a shell command to run before it, such as `ulimit -f 100` */
export function startChild (t: Test, args: readonly string[], limits = ':') {
  const child = spawn('sh', ['-c', `${limits}; exec "$0" "$@"`, process.execPath, ...LOADER, CHILD, ...args],
    { stdio: ['pipe', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const lines: string[] = []
  const waiting = new Set<() => void>()
  createInterface(child.stdout).on('line', (line) => {
    lines.push(line)
    for (const wake of waiting) wake()
  })
  async function kill (): Promise<void> {
    child.kill('SIGKILL')
    await exited
  }
  t.teardown(kill)
  return {
    child,
    lines,
    kill,
    exited,
    /** Settles with the first line that begins with this text. */
    async line (start: string): Promise<string> {
      for (;;) {
        const found = lines.find((line) => line.startsWith(start))
        if (found !== undefined) return found
        await new Promise<void>((resolve, reject) => {
          waiting.add(resolve)
          exited.then(() => { setImmediate(() => { reject(new Error(`the child ended: ${lines.join(' | ')}`)) }) }, reject)
        })
      }
    }
  }
}
