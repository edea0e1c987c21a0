import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { LOADER, ROOT, toProgram } from '../../../helpers/program.ts'

interface TestLike { teardown: (fn: () => Promise<void>) => unknown }

/** The excerpt of recordings in the repository. */
export const FIXTURES = join(ROOT, 'test/fixtures/bidmc')

/** Starts a command as npm would, without a terminal. `done` settles with its exit status and its output. */
export function startScript (t: TestLike, script: 'play' | 'simulate', args: readonly string[]) {
  const child: ChildProcess = spawn(process.execPath, [...LOADER, toProgram('scripts/vital-gateway.ts'), script, ...args], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe']
  })
  let stdout = ''
  let stderr = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => { stdout += text })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => { stderr += text })
  const closed = once(child, 'close')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await closed
  })
  return {
    interrupt () { child.kill('SIGINT') },
    done: closed.then(([status]) => ({ status: status as number | null, stdout, stderr }))
  }
}

/** Runs a command to its end. */
export async function runScript (t: TestLike, script: 'play' | 'simulate', args: readonly string[]) {
  return await startScript(t, script, args).done
}
