import { execFile } from 'node:child_process'
import { readdir, readFile, readlink, realpath } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

/** Distinguishes a process from a later one with the same id. */
export interface ProcessIdentity {
  readonly pid: number
  /** As the system writes it; only to be compared. */
  readonly startedAt: string
}

/** @returns `null` when no such process runs; a zombie does not run */
export async function identifyProcess (pid: number): Promise<ProcessIdentity | null> {
  if (!Number.isSafeInteger(pid) || pid <= 0) return null
  if (process.platform !== 'linux') {
    const line = await ps(pid, 'lstart=,stat=')
    return line === '' || line.endsWith('Z') ? null : { pid, startedAt: line.replace(/\s+\S+$/, '') }
  }
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8')
    // The second field is the program's name in parentheses, and may hold spaces and parentheses itself.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8')
    return fields[0] === 'Z' || fields[0] === 'X' ? null : { pid, startedAt: `${fields[19]} ${boot.trim()}` }
  } catch (error) {
    if (isGone(error)) return null
    throw error
  }
}

/** Whether the process is the postmaster, or a backend, of the cluster in `dir`: all of them work in that directory. */
export async function isServerProcess (pid: number, dir: string): Promise<boolean> {
  if (process.platform !== 'linux') {
    const command = await ps(pid, 'command=')
    return /postgres/.test(command) && command.includes(dir)
  }
  try {
    const [executable, cwd, real] = await Promise.all([
      readlink(`/proc/${pid}/exe`), readlink(`/proc/${pid}/cwd`), realpath(dir)
    ])
    // After an npm ci the file of the running program is deleted, and the kernel adds that to its path.
    return basename(executable.replace(/ \(deleted\)$/, '')) === 'postgres' && cwd.replace(/ \(deleted\)$/, '') === real
  } catch (error) {
    if (isGone(error)) return false
    throw error
  }
}

/** Ids of all processes of the cluster; empty on systems without /proc. */
export async function listServerProcesses (dir: string): Promise<number[]> {
  if (process.platform !== 'linux') return []
  const pids: number[] = []
  for (const name of await readdir('/proc')) {
    if (/^\d+$/.test(name) && await isServerProcess(Number(name), dir)) pids.push(Number(name))
  }
  return pids
}

/** The postmaster's id as `postmaster.pid` has it; another process may run under that id now. */
export async function readPostmasterPid (dir: string): Promise<number | null> {
  try {
    const pid = Math.abs(Number.parseInt(await readFile(join(dir, 'postmaster.pid'), 'utf8'), 10))
    return Number.isNaN(pid) ? null : pid
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/** @returns whether the process has ended in time */
export async function waitForExit (pid: number, dir: string, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs
  while (await isServerProcess(pid, dir) && await identifyProcess(pid) !== null) {
    if (performance.now() >= deadline) return false
    await sleep(50)
  }
  return true
}

/** Sends a signal. A process that is gone is not an error. */
export function signal (pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** A process of another user (EACCES) is not ours either. */
function isGone (error: unknown): boolean {
  return ['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')
}

async function ps (pid: number, format: string): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)('ps', ['-o', format, '-p', String(pid)], {
      env: {
        PATH: '/usr/bin:/bin', LC_ALL: 'C'
      }
    })
    return stdout.trim()
  } catch {
    // ps exits 1 when there is no such process.
    return ''
  }
}
