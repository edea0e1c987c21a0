import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Whether /proc has the CPU time and memory of processes; elsewhere both are left out. */
export const hasProc = process.platform === 'linux'

const ticksPerS = hasProc ? Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' })) : 100

/** Fields of `/proc/PID/stat` of one process, its threads included. */
export interface ProcessStat {
  readonly pid: number
  readonly parent: number
  /** User and system time, with that of children that have ended and were waited for. */
  readonly cpuS: number
}

/** @param text - a `/proc/PID/stat`: its second field, the command, may hold spaces and parentheses (proc(5)) */
export function parseStat (text: string): ProcessStat {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ').map(Number)
  const at = (index: number) => fields[index] ?? 0
  return { pid: Number.parseInt(text), parent: at(1), cpuS: (at(11) + at(12) + at(13) + at(14)) / ticksPerS }
}

function readStats (): ProcessStat[] {
  const stats: ProcessStat[] = []
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    try {
      stats.push(parseStat(readFileSync(`/proc/${entry}/stat`, 'utf8')))
    } catch {
      // It ended between the listing and the reading.
      continue
    }
  }
  return stats
}

/**
 * CPU seconds that a process and all below it have used.
 * @param except - a process whose subtree is not counted, wherever it lies
 * @returns `null` without /proc
 */
export function readTreeCpuS (pid: number, except?: number): number | null {
  if (!hasProc) return null
  const stats = readStats()
  const sum = (of: number): number => of === except
    ? 0
    : stats.reduce((total, stat) => total + (stat.pid === of ? stat.cpuS : 0) + (stat.parent === of ? sum(stat.pid) : 0), 0)
  return sum(pid)
}

/** CPU seconds that all processes of the machine have used, interrupts left out; `null` without /proc. */
export function readBusyCpuS (): number | null {
  if (!hasProc) return null
  const [, user = 0, nice = 0, system = 0] = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0]?.split(/\s+/).map(Number) ?? []
  return (user + nice + system) / ticksPerS
}

function readStatusKb (pid: number, name: string): number | null {
  if (!hasProc) return null
  const kb = new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return kb === undefined ? null : Number(kb)
}

/** Resident bytes of one process now; `null` without /proc. */
export function readRssBytes (pid: number): number | null {
  const kb = readStatusKb(pid, 'VmRSS')
  return kb === null ? null : kb * 1024
}

/** The most bytes that one process has had resident; `null` without /proc. */
export function readPeakRssBytes (pid: number): number | null {
  const kb = readStatusKb(pid, 'VmHWM')
  return kb === null ? null : kb * 1024
}

/**
 * The postmaster of the embedded PostgreSQL below `dir`, which is not a child of the gateway once it is detached.
 * @returns `null` when none runs there
 */
export function findPostmaster (dir: string): number | null {
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    if (entry.name !== 'postmaster.pid') continue
    const pid = Number.parseInt(readFileSync(join(entry.parentPath, entry.name), 'utf8'))
    if (Number.isInteger(pid) && isPostgres(pid)) return pid
  }
  return null
}

/** The file outlives a server that was killed, and its number may have gone to another process since. */
function isPostgres (pid: number): boolean {
  if (!hasProc) return true
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'postgres'
  } catch {
    return false
  }
}

/**
 * Descriptors that a process of ours may open; Node raises its soft limit to the hard one at start.
 * @returns `Infinity` when it is unknown
 */
export function readDescriptorLimit (): number {
  const text = hasProc
    ? /^Max open files\s+(\w+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    : execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }).trim()
  const limit = Number(text)
  return Number.isFinite(limit) ? limit : Infinity
}
