import { execFile } from 'node:child_process'
import { chmod, chown, lstat, readdir, readFile, stat } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Logger } from 'pino'
import { StorageError } from '../storage-error.ts'
import type { Binaries } from './binaries.ts'

/**
 * The account that PostgreSQL runs as. It refuses root, and initdb refuses a user without a name.
 * - `self`: as the gateway does.
 * - `namespace`: as the gateway does, but seen from inside as `mapped`: no second user is needed, and files stay ours.
 * - `user`: as another user, to whom the cluster's files belong.
 */
export type Account =
  | { readonly kind: 'self' }
  | { readonly kind: 'namespace', readonly mapped: number }
  | { readonly kind: 'user', readonly uid: number, readonly gid: number }

/** The arguments of `spawn`. */
export interface Command {
  readonly file: string
  readonly args: readonly string[]
  readonly options: { readonly uid?: number, readonly gid?: number }
}

export function toCommand (account: Account, file: string, args: readonly string[]): Command {
  switch (account.kind) {
    case 'self':
      return { file, args, options: {} }
    case 'namespace':
      // unshare replaces itself by the program, so the process id is the server's.
      return {
        file: 'unshare',
        args: ['--user', `--map-user=${account.mapped}`, `--map-group=${account.mapped}`, file, ...args],
        options: {}
      }
    case 'user':
      return { file, args, options: { uid: account.uid, gid: account.gid } }
  }
}

/** Gives a file or a directory with all in it to the account that the server runs as. */
export async function giveTo (account: Account, path: string): Promise<void> {
  if (account.kind !== 'user') return
  await chown(path, account.uid, account.gid)
  if (!(await lstat(path)).isDirectory()) return
  for (const entry of await readdir(path, { recursive: true })) await chown(join(path, entry), account.uid, account.gid)
}

/**
 * Finds an account that PostgreSQL can run as here, by running `postgres --version` with it.
 * @param clusterDir - an existing cluster keeps the owner it has
 * @returns also the major version of the binaries
 * @throws `VITAL_EMBEDDED_ROOT_REFUSED`, `VITAL_EMBEDDED_UNSUPPORTED_PLATFORM`
 */
export async function chooseAccount (
  options: { binaries: Binaries, dataDir: string, clusterDir: string, logger: Logger }
) {
  const { binaries, dataDir, clusterDir, logger } = options
  const faults: unknown[] = []
  for await (const account of candidates(dataDir, clusterDir)) {
    try {
      return { account, major: await probe(account, binaries, dataDir) }
    } catch (error) {
      logger.debug({ err: error, account }, 'PostgreSQL cannot run as this account')
      faults.push(error)
    }
  }
  const cause = new AggregateError(faults, 'every way to run PostgreSQL failed')
  if (process.geteuid?.() === 0) {
    throw new StorageError('VITAL_EMBEDDED_ROOT_REFUSED',
      'PostgreSQL refuses to run as root, this machine allows no user namespaces (unshare --user), and no ordinary ' +
      `user can reach ${dataDir} and the binaries (${binaries.postgres}). Start the gateway as an ordinary user, or ` +
      'set DATABASE_URL to a PostgreSQL of your own.', { cause })
  }
  throw new StorageError('VITAL_EMBEDDED_UNSUPPORTED_PLATFORM',
    `The PostgreSQL that npm installed (${binaries.postgres}) does not run here; it needs glibc 2.17 or newer, and a ` +
    'named user. Set DATABASE_URL to a PostgreSQL of your own.', { cause })
}

async function * candidates (dataDir: string, clusterDir: string): AsyncGenerator<Account> {
  const uid = process.geteuid?.()
  if (uid !== 0 && hasName()) {
    yield { kind: 'self' }
    return
  }
  const owner = await stat(clusterDir).catch(() => null)
  if (uid === 0 && owner !== null && owner.uid !== 0) yield { kind: 'user', uid: owner.uid, gid: owner.gid }

  const users = await readUsers()
  if (owner === null || owner.uid === uid) {
    const named = users.find((user) => user.uid === 1000) ?? users.find((user) => user.name === 'nobody') ?? users[0]
    if (process.platform === 'linux' && named !== undefined) yield { kind: 'namespace', mapped: named.uid }
  }
  if (uid !== 0) return
  for (const name of ['postgres', 'nobody']) {
    const user = users.find((user) => user.name === name)
    if (user === undefined) continue
    // Others may enter the directory but not list it. The files in it stay readable by their owner only.
    const { mode } = await stat(dataDir)
    if ((mode & 0o001) === 0) await chmod(dataDir, (mode & 0o777) | 0o011)
    yield { kind: 'user', uid: user.uid, gid: user.gid }
  }
}

/** Containers run programs under a numeric user id without a name, which initdb refuses. */
function hasName (): boolean {
  try {
    userInfo()
    return true
  } catch {
    return false
  }
}

async function readUsers () {
  const text = await readFile('/etc/passwd', 'utf8').catch(() => '')
  return text.split('\n')
    .map((line) => line.split(':'))
    .map(([name, , uid, gid]) => ({ name, uid: Number(uid), gid: Number(gid) }))
    .filter(({ uid }) => uid > 0)
}

/** Throws unless the account can read and write in `dataDir` and run the binaries; returns their major version. */
async function probe (account: Account, binaries: Binaries, dataDir: string): Promise<number> {
  const access = account.kind === 'user' ? 'test -x "$0"' : 'test -w "$0" -a -x "$0"'
  const { file, args, options } = toCommand(account, '/bin/sh',
    ['-c', `${access} && exec "$1" --version`, dataDir, binaries.postgres])
  const { stdout } = await promisify(execFile)(file, args, {
    ...options, env: binaries.env, cwd: binaries.cwd, timeout: 10_000
  })
  const major = /\(PostgreSQL\) (\d+)/.exec(stdout)?.[1]
  if (major === undefined) throw new Error(`postgres --version answered ${JSON.stringify(stdout)}`)
  return Number(major)
}
