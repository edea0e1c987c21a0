import { spawnSync } from 'node:child_process'
import { closeSync, fdatasyncSync, openSync, readFileSync, statfsSync, writeSync } from 'node:fs'
import { cpus, loadavg, platform, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { root } from './compile.ts'
import { toSpread } from './statistics.ts'

/** The machine, on which figures depend as well as on the program. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly system: string
  readonly node: string
  readonly commit: string
  readonly packages: Readonly<Record<string, string>>
  readonly fileSystem: string
  /** Median time of one fdatasync of 8 KiB in the file system of the data directories; each COMMIT waits for one. */
  readonly fdatasyncMs: number
  /** One-minute load average before the run: the load of other programs. */
  readonly loadBefore: number
}

/** Magic numbers of statfs(2). */
const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  0x01021994: 'tmpfs (memory: nothing is durable here, and figures are too good; use --data-dir)',
  0xef53: 'ext4',
  0x58465342: 'xfs',
  0x9123683e: 'btrfs',
  0x2fc12fc1: 'zfs',
  0x794c7630: 'overlayfs',
  0x1a: 'apfs'
}

const DIRTY_HINT = ' with uncommitted changes'

function readCommit (): string {
  const git = (...args: string[]) => spawnSync('git', args, { cwd: root, encoding: 'utf8' })
  const head = git('rev-parse', '--short', 'HEAD')
  if (head.status !== 0) return 'unknown'
  return head.stdout.trim() + (git('status', '--porcelain', '--untracked-files=no').stdout === '' ? '' : DIRTY_HINT)
}

function readVersion (name: string): string {
  const { version } = JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')) as { version: string }
  return version
}

function measureFdatasyncMs (dir: string): number {
  const file = openSync(join(dir, 'fdatasync'), 'w')
  const page = Buffer.alloc(8192, 1)
  const times: number[] = []
  for (let run = 0; run < 50; run++) {
    writeSync(file, page)
    const startMs = performance.now()
    fdatasyncSync(file)
    times.push(performance.now() - startMs)
  }
  closeSync(file)
  return toSpread(times).median
}

/** @param dir - an empty directory beside the gateway's data directories */
export function describeMachine (dir: string): Machine {
  const type = statfsSync(dir).type
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${platform()} ${release()}`,
    node: process.version,
    commit: readCommit(),
    packages: Object.fromEntries(['aedes', 'fastify', 'pg'].map((name) => [name, readVersion(name)])),
    fileSystem: FILE_SYSTEMS[type] ?? `type 0x${type.toString(16)}`,
    fdatasyncMs: measureFdatasyncMs(dir),
    loadBefore: loadavg()[0] ?? 0
  }
}
