import { constants } from 'node:fs'
import { access, open, readdir, stat, statfs, unlink } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import type { Config } from '../../../src/config/config.ts'
import { fail, type Finding, ok, toMessage, toSize, warn } from './finding.ts'

/** The next segment of the spool does not fit below this. */
const FREE_BYTES_MIN = 64 * 1024 * 1024
/** Each batch waits for one; above this, the disk makes acknowledgements slow. */
const SYNC_MS_MAX = 20
const SYNC_BYTES = 4096
const SYNC_ROUNDS = 7
/** Magic numbers of file systems in memory (statfs(2)): tmpfs and ramfs. */
const IN_MEMORY = new Set([0x01021994, 0x858458f6])

/** Data directory and its disk: owner, mode, room, speed, and readings that the spool has set aside. */
export async function checkDataDirectory (config: Config): Promise<Finding[]> {
  const { dataDir } = config
  const there = await findExisting(dataDir)
  const isMade = there === dataDir
  const findings = isMade ? [await checkOwner(dataDir)] : [await checkParent(dataDir, there)]
  if (findings.some(({ status }) => status === 'FAIL')) return findings
  return [...findings, ...await checkSpace(config, there), await checkSync(there), ...isMade
    ? await checkSpool(join(dataDir,
      'spool'))
    : []]
}

/** The directory itself, or the nearest one above that exists. */
async function findExisting (path: string): Promise<string> {
  if (path === dirname(path) || await stat(path).then(() => true, ({ code }: NodeJS.ErrnoException) => code !== 'ENOENT')) return path
  return await findExisting(dirname(path))
}

async function checkParent (dataDir: string, above: string): Promise<Finding> {
  const check = 'data directory'
  const isDirectory = await stat(above).then((found) => found.isDirectory(), () => false)
  if (!isDirectory) {
    return fail(check, `VITAL_DATA_DIR=${dataDir} is below ${above}, which is not a directory`,
      'set VITAL_DATA_DIR to another place')
  }
  return await access(above, constants.W_OK | constants.X_OK).then(
    () => ok(check, `${dataDir} is made at the first start`),
    () => fail(check, `${dataDir} does not exist, and ${above} may not be written by ${toUserName()}`,
      'make it for the account of the gateway, or set VITAL_DATA_DIR'))
}

async function checkOwner (dataDir: string): Promise<Finding> {
  const check = 'data directory'
  const found = await stat(dataDir).catch((error: NodeJS.ErrnoException) => error)
  if (found instanceof Error) {
    return fail(check, `${dataDir} cannot be inspected (${found.code})`,
      'run this as the user that runs the gateway')
  }
  if (!found.isDirectory()) return fail(check, `VITAL_DATA_DIR=${dataDir} is not a directory`, 'set VITAL_DATA_DIR to another place')
  const mode = found.mode & 0o777
  const isOwn = process.getuid === undefined || process.getuid() === found.uid
  const isWritable = await access(dataDir, constants.R_OK | constants.W_OK | constants.X_OK).then(() => true, () => false)
  if (!isWritable) {
    return fail(check, `${dataDir} belongs to user ${found.uid}, and may not be written by ${toUserName()}`,
      'run gateway and doctor as its owner, or set VITAL_DATA_DIR')
  }
  if (!isOwn) {
    return warn(check, `${dataDir} belongs to user ${found.uid}, and this is ${toUserName()}`,
      'run gateway and doctor as its owner')
  }
  // As root the embedded server runs as another user, who must be able to enter: 0711.
  if ((mode & 0o066) !== 0) {
    return warn(check, `${dataDir} has mode ${mode.toString(8)}: other users may look into it`,
    `chmod go-rw ${dataDir}`)
  }
  return ok(check, `${dataDir} belongs to ${toUserName()}, mode ${mode.toString(8)}`)
}

async function checkSpace ({ dataDir, spoolBytesMax }: Config, there: string): Promise<Finding[]> {
  const { bavail, bsize, type } = await statfs(there)
  const free = bavail * bsize
  const used = await measure(join(dataDir, 'spool'))
  const wanted = Math.max(0, spoolBytesMax - used)
  const text = `${toSize(free)} free below ${there}; the spool may grow by ${toSize(wanted)} (VITAL_SPOOL_BYTES_MAX)`
  const kind = IN_MEMORY.has(type)
    ? [warn('disk', `${there} is in memory: a power loss loses acknowledged readings`, 'set VITAL_DATA_DIR to a disk')]
    : []
  if (free < FREE_BYTES_MIN) {
    return [...kind, fail('disk space', text, 'free space: without it nothing is acknowledged while PostgreSQL is away')]
  }
  return [...kind, free < wanted ? warn('disk space', text, 'free space, or lower VITAL_SPOOL_BYTES_MAX') : ok('disk space', text)]
}

/** Writes and syncs a file without a name, so that nothing is left however this ends. */
async function checkSync (directory: string): Promise<Finding> {
  const check = 'disk sync'
  const path = join(directory, `.doctor-${process.pid}`)
  try {
    const file = await open(path, 'wx', 0o600)
    try {
      await unlink(path)
      const block = Buffer.alloc(SYNC_BYTES, 1)
      const times: number[] = []
      for (let round = 0; round < SYNC_ROUNDS; round++) {
        const startedAtMs = performance.now()
        await file.write(block, 0, SYNC_BYTES, round * SYNC_BYTES)
        await file.datasync()
        times.push(performance.now() - startedAtMs)
      }
      const medianMs = times.sort((a, b) => a - b)[Math.floor(SYNC_ROUNDS / 2)]!
      const text = `a write and fdatasync take ${medianMs.toFixed(2)} ms`
      return medianMs > SYNC_MS_MAX
        ? warn(check, `${text}: each batch waits that long`,
          'take a faster disk, or one that is less busy')
        : ok(check, text)
    } finally {
      await file.close()
    }
  } catch (error) {
    return fail(check, `${directory} cannot be written: ${toMessage(error)}`, 'repair the disk, or set VITAL_DATA_DIR to another')
  }
}

async function checkSpool (directory: string): Promise<Finding[]> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => error.code ?? '')
  if (typeof names === 'string') {
    if (names === 'ENOENT') return []
    return [fail('spool', `${directory} cannot be read (${names})`, 'run gateway and doctor as its owner')]
  }
  const damaged = names.filter((name) => name.endsWith('.damaged')).length
  const aside = names.filter((name) => /^aside-.*\.json$/.test(name)).length
  if (damaged > 0) {
    return [warn('spool', `${damaged} files in ${directory} were damaged by the disk (*.damaged)`,
      'look at the disk; acknowledged readings may be lost')]
  }
  if (aside > 0) {
    return [warn('spool', `${aside} readings that PostgreSQL did not take are in ${directory} (aside-*.json)`,
      'look at them, send them again, and delete them')]
  }
  const bytes = await measure(directory)
  return [ok('spool', `${bytes === 0 ? 'empty' : `${bytes} bytes`} in ${directory}`)]
}

async function measure (directory: string): Promise<number> {
  const names = await readdir(directory).catch(() => [])
  const sizes = await Promise.all(names.filter((name) => name.endsWith('.spool'))
    .map((name) => stat(join(directory, name)).then(({ size }) => size, () => 0)))
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** In a container a process may run as a number that no account has. */
function toUserName (): string {
  try {
    return userInfo().username
  } catch {
    return `user ${process.getuid?.() ?? '?'}`
  }
}
