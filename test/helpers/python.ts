import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/**
 * Python with a package in a virtual environment, which is kept for later runs.
 * @param requirement - `name==version`
 * @param timeoutMs - bounds the first installation, which usually takes half a minute
 * @returns the interpreter, or the reason why it is missing
 */
export async function findPython (
  requirement: string, timeoutMs: number
): Promise<{ readonly python: string } | { readonly reason: string }> {
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'vital-gateway-test')
  const directory = join(cache, requirement)
  const python = join(directory, 'bin/python')
  if (existsSync(python)) return { python }
  const made = `${directory}-${process.pid}`
  try {
    await mkdir(cache, { recursive: true })
    const begun = performance.now()
    // Renamed once it is complete. Modules run from any path; only scripts in bin would not.
    await run('python3', ['-m', 'venv', made], { timeout: timeoutMs })
    await run(join(made, 'bin/python'), ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', requirement], {
      timeout: Math.max(1, Math.round(timeoutMs - (performance.now() - begun)))
    })
    await rename(made, directory)
    return { python }
  } catch (error) {
    await rm(made, { recursive: true, force: true })
    return { reason: (error as Error).message.split('\n', 1)[0] ?? '' }
  }
}
