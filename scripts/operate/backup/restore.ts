import { access, chmod, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Config } from '../../../src/config/config.ts'
import { lockDirectory } from '../../../src/ingest/journal/spool/directory-lock.ts'
import { ERASURES_FILE, readErasures, splitLines, toErasuresSince } from '../../../src/operations/erasure-journal.ts'
import type { Erased } from '../erase/erased.ts'
import { eraseDevicesStopped } from '../erase/stopped.ts'
import { toActor } from '../../command-line/actor.ts'
import { OperatorError, usageError } from '../../command-line/operator-error.ts'
import type { Print, ProgressStream } from '../../command-line/surroundings.ts'
import { writePrivateFile } from '../../command-line/private-file.ts'
import { emptyLocked, syncDirectory } from './copy.ts'
import { layOut, recover, type Recovered } from './lay-out.ts'
import { type Manifest, readManifest, toBytes } from './manifest.ts'
import { assertSpace } from './space.ts'

/** Inside the target, which may be a mount point: files that are moved at the end stay on its file system. */
const PARTIAL = 'restore.partial'
/** The cluster last: until it is there, nothing takes the target for a data directory. */
const MOVED = ['access.json', 'log-key', ERASURES_FILE, 'spool', 'postgres'] as const

export interface RestoreOptions {
  readonly config: Config
  readonly from: string
  readonly to: string
  /** Records of erasures beside one in `to`; `null`: the operator states that none exists. */
  readonly erasures: readonly string[] | null
  readonly tell: Print
  readonly progress: ProgressStream
  readonly signal: AbortSignal
}

export interface Restored extends Recovered {
  readonly manifest: Manifest
  readonly to: string
  /** Devices that were erased again, and what was removed of each. */
  readonly erased: ReadonlyArray<Erased & { readonly device: string }>
}

/**
 * Makes a data directory from a backup: files, recovery, erasures. Nothing has its final name before all of it is
 * done.
 * @throws `OPERATOR_USAGE`, `OPERATOR_FAILED`
 */
export async function restoreBackup (options: RestoreOptions): Promise<Restored> {
  const { config, tell, progress, signal } = options
  const from = resolve(options.from)
  const to = resolve(options.to)
  const manifest = await readManifest(from)
  await assertFree(to)
  const { devices, journal } = await readJournals(options, from, to)
  await mkdir(to, { recursive: true, mode: 0o700 })
  await assertSpace(to, toBytes(manifest))
  const partial = join(to, PARTIAL)
  await mkdir(partial, { recursive: true, mode: 0o700 })
  // Another user, which may have to run the server, must be able to enter; the files inside stay private.
  if (process.geteuid?.() === 0) for (const directory of [to, partial]) await chmod(directory, 0o711)
  const unlock = await lockDirectory(partial).catch((cause: unknown) => {
    throw new OperatorError('OPERATOR_FAILED', `another restore writes to ${to}`, { cause })
  })
  try {
    await emptyLocked(partial)
    await layOut({ from, manifest, dataDir: partial, progress, signal })
    await rm(join(partial, ERASURES_FILE), { force: true })
    await writePrivateFile(join(partial, ERASURES_FILE), journal.map((line) => `${line}\n`).join(''))
    tell('PostgreSQL recovers from the log in the backup, and counts the rows')
    const recovered = await recover(partial, manifest)
    const erased = await eraseAgain({ ...config, databaseUrl: null, dataDir: partial }, devices, tell, progress)
    await move(partial, to)
    return { ...recovered, manifest, to, erased }
  } finally {
    await unlock()
    await rm(partial, { recursive: true, force: true })
  }
}

/** @throws `OPERATOR_USAGE` when files are there that a restore might hide or destroy */
async function assertFree (to: string): Promise<void> {
  const names = await readdir(to).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return []
    throw usageError(`${to} cannot be used: ${cause.message}`, { cause })
  })
  const others = names.filter((name) => name !== ERASURES_FILE && name !== PARTIAL)
  if (others.length === 0) return
  throw usageError(`${to} is not empty (${others.slice(0, 3).join(', ')}): stop the gateway, move the directory away, and ` +
    'keep it until the restored one runs')
}

/** Erasures since the backup, and the record for the restored directory. */
async function readJournals ({ erasures, tell }: RestoreOptions, from: string, to: string) {
  const before = await readErasures(join(from, ERASURES_FILE))
  const own = join(to, ERASURES_FILE)
  const paths = [...erasures ?? [], ...await access(own).then(() => [own], () => [])]
  if (paths.length === 0 && erasures !== null) {
    throw usageError(`say what was erased since the backup: --erasures FILE with the ${ERASURES_FILE} of the old data directory, ` +
      'or your copy of it. Without it erased devices come back: --no-erasures says that this is wanted, or that ' +
      'nothing was erased')
  }
  const devices = new Set<string>()
  const journal = [...before]
  const known = new Set(before)
  for (const path of paths) {
    const lines = await readFile(path, 'utf8').then(splitLines, (cause: Error) => {
      throw usageError(`--erasures ${path} cannot be read: ${cause.message}`, { cause })
    })
    const since = toErasuresSince(before, lines)
    if (!since.isSameJournal) {
      tell(`${path} does not continue the record in the backup: every erasure in it is done again`)
    }
    for (const device of since.devices) devices.add(device)
    for (const line of lines) {
      if (!known.has(line)) journal.push(line)
      known.add(line)
    }
  }
  // Erasures that were under way when the backup was taken.
  for (const device of toErasuresSince(before, before).devices) devices.add(device)
  return { devices: [...devices], journal }
}

async function eraseAgain (
  config: Config, devices: readonly string[], tell: Print, progress: ProgressStream
): Promise<Restored['erased']> {
  if (devices.length === 0) return []
  const subject = devices.length === 1 ? 'device was' : 'devices were'
  tell(`${devices.length} ${subject} erased since the backup: erasing again`)
  const erased = await eraseDevicesStopped({ config, devices, actor: toActor(), log: null, tell: () => {}, progress })
  if (erased === null) throw new OperatorError('OPERATOR_FAILED', `a gateway was started on ${config.dataDir}`)
  return erased.map((each, index) => ({ ...each, device: devices[index]! }))
}

async function move (partial: string, to: string): Promise<void> {
  const present = new Set(await readdir(partial))
  for (const name of MOVED) if (present.has(name)) await rename(join(partial, name), join(to, name))
  await syncDirectory(to)
  const { uid } = await stat(join(to, 'postgres'))
  if (uid === process.geteuid?.()) await chmod(to, 0o700)
}
