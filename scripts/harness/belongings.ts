import { type ChildProcess, fork, spawn, spawnSync, type StdioOptions } from 'node:child_process'
import { mkdtempSync, readdirSync, readlinkSync, realpathSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'

/** Nothing of the caller's environment may change a run: no NODE_OPTIONS, no VITAL_*, no DATABASE_URL. */
const ENVIRONMENT = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' }
const POSTGRES_STOP_MS = 3000
/** Room that is left on a file system that is filled. */
const LEFT_BYTES = 256 * 1024

/**
 * Everything that a run starts or makes: processes, directories, mounts. All of it ends however the run ends. Only
 * processes that were started here are signalled; a PostgreSQL is recognised by a working directory below one of ours.
 */
export class Belongings {
  readonly #children = new Set<ChildProcess>()
  readonly #dirs = new Set<string>()
  readonly #mounts = new Set<string>()
  #isEnded = false
  #isInterrupted = false
  keepsDirs = false

  constructor () {
    process.on('exit', () => this.end())
    for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]] as const) {
      process.on(signal, () => {
        if (this.#isInterrupted) return
        this.#isInterrupted = true
        process.stderr.write(`\n${signal}: ending what the run has started\n`)
        process.exit(code)
      })
    }
  }

  fork (file: string, args: readonly string[] = []): ChildProcess {
    return this.#keep(fork(file, args, { env: ENVIRONMENT, execArgv: [], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }))
  }

  spawn (
    file: string, args: readonly string[], options: { cwd: string, env?: Readonly<Record<string, string>>, stdio: StdioOptions }
  ): ChildProcess {
    return this.#keep(spawn(file, args, { ...options, env: { ...ENVIRONMENT, ...options.env } }))
  }

  createDir (): string {
    const dir = realpathSync(mkdtempSync(join(tmpdir(), 'vital-chaos-')))
    this.#dirs.add(dir)
    return dir
  }

  /** A file system of limited size, in memory. @throws Error with the message of mount */
  mountTmpfs (dir: string, bytes: number): void {
    const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'vital-chaos', dir],
      { encoding: 'utf8' })
    if (status !== 0) throw new Error(`mount -t tmpfs: ${stderr.trim()}`)
    this.#mounts.add(dir)
  }

  /** @throws Error with the message of mount: the size cannot be less than the content */
  resizeTmpfs (dir: string, bytes: number): void {
    const { status, stderr } = spawnSync('mount', ['-o', `remount,size=${bytes}`, dir], { encoding: 'utf8' })
    if (status !== 0) throw new Error(`mount -o remount: ${stderr.trim()}`)
  }

  /** Leaves hardly any room beside the content, which may grow meanwhile. */
  fillTmpfs (dir: string): void {
    const { blocks, bfree, bsize } = statfsSync(dir)
    this.resizeTmpfs(dir, (blocks - bfree) * bsize + LEFT_BYTES)
  }

  /** A directory with a file system of its own, in memory. */
  createTmpfs (bytes: number): string {
    const dir = this.createDir()
    this.mountTmpfs(dir, bytes)
    return dir
  }

  unmount (dir: string): void {
    if (!this.#mounts.delete(dir)) return
    spawnSync('umount', ['-l', dir])
  }

  removeDir (dir: string): void {
    if (!this.#dirs.delete(dir)) return
    stopPostgresBelow(dir)
    if (this.keepsDirs) process.stderr.write(`kept ${dir}\n`)
    else rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  }

  /** Ends all at once, without waiting for an event. */
  end (): void {
    if (this.#isEnded) return
    this.#isEnded = true
    for (const child of this.#children) child.kill('SIGKILL')
    for (const dir of this.#dirs) stopPostgresBelow(dir)
    for (const mount of [...this.#mounts]) this.unmount(mount)
    for (const dir of [...this.#dirs]) this.removeDir(dir)
  }

  #keep (child: ChildProcess): ChildProcess {
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
    return child
  }
}

/** Processes of PostgreSQL clusters below `dir`; their working directory is that of their cluster. */
export function findPostgresBelow (dir: string): Array<{ pid: number, cwd: string }> {
  if (process.platform !== 'linux') return []
  const found: Array<{ pid: number, cwd: string }> = []
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const cwd = readlinkSync(`/proc/${name}/cwd`)
      const executable = basename(readlinkSync(`/proc/${name}/exe`))
      if (executable.startsWith('postgres') && (cwd === dir || cwd.startsWith(`${dir}/`))) found.push({ pid: Number(name), cwd })
    } catch {
      // It has ended, or we may not look at it.
      continue
    }
  }
  return found
}

/** An immediate shutdown first: it gives shared memory back, which a kill would leave to the system. */
function stopPostgresBelow (dir: string): void {
  const waitUntilMs = performance.now() + POSTGRES_STOP_MS
  for (const { pid } of findPostgresBelow(dir)) {
    send(pid, 'SIGQUIT')
    send(pid, 'SIGCONT')
  }
  for (;;) {
    const left = findPostgresBelow(dir)
    if (left.length === 0) return
    if (performance.now() > waitUntilMs) for (const { pid } of left) send(pid, 'SIGKILL')
    if (performance.now() > waitUntilMs + POSTGRES_STOP_MS) return
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
  }
}

function send (pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
