import type { Checkpoint } from './gateway-state.ts'
import { PRIVATE_MARK } from '../sessions/session.ts'

export interface Violation {
  readonly check: 'alive' | 'good client' | 'stored' | 'ledger' | 'memory' | 'descriptors' | 'log' | 'answers' | 'subscribers'
  readonly message: string
}

/** Memory that compiled code, filling caches and the allocator may still add after the first checkpoint. */
const MEMORY_GROWTH_MAX = 24 * 2 ** 20
/** Of one session, subscription or retained message that clients made the broker keep, beside its payload. */
const KEPT_ITEM_BYTES = 1000
/** A connection of the gateway's pool, a segment of its spool. */
const DESCRIPTOR_GROWTH_MAX = 12

function keptBytes (kept: Checkpoint['kept']): number {
  return Object.entries(kept).reduce((sum, [name, value]) => sum + value * (name.includes('bytes') ? 1 : KEPT_ITEM_BYTES), 0)
}

const mib = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`

/**
 * Whether memory and descriptors came back to where they were; each checkpoint was taken with no attack under way, after
 * a collection of garbage.
 * @param checkpoints - from the one after the warm-up on
 */
export function checkGrowth (checkpoints: readonly Checkpoint[]): Violation[] {
  const [first, last] = [checkpoints[0], checkpoints.at(-1)]
  if (first === undefined || last === undefined) return []
  const violations: Violation[] = []
  const memory = ({ heapBytes, externalBytes }: Checkpoint) => heapBytes + externalBytes
  const grown = memory(last) - memory(first)
  const allowed = MEMORY_GROWTH_MAX + Math.max(0, keptBytes(last.kept) - keptBytes(first.kept))
  if (grown > allowed) {
    violations.push({
      check: 'memory',
      message: `heap and buffers grew from ${mib(memory(first))} to ${mib(memory(last))} ` +
        `between ${first.packets} and ${last.packets} packets; ` +
        `${mib(allowed)} more would be explained, with ${JSON.stringify(last.kept)}`
    })
  }
  if (last.descriptors > first.descriptors + DESCRIPTOR_GROWTH_MAX) {
    violations.push({
      check: 'descriptors', message: `${first.descriptors} open descriptors became ${last.descriptors}, with no attack under way`
    })
  }
  return violations
}

const ERROR_LEVEL = 50
/** A machine with other work makes PostgreSQL slow at times; another check sees whether a client had to wait. */
const SLOW_DATABASE = /circuit open/

/** Finds bugs that were logged, and payloads or passwords in the log. */
export function checkLog (lines: ReadonlyArray<{ level?: number, msg?: string }>): Violation[] {
  const violations: Violation[] = []
  const bug = lines.find(({ level = 0, msg = '' }) => level >= ERROR_LEVEL && !SLOW_DATABASE.test(msg))
  if (bug !== undefined) violations.push({ check: 'log', message: `an error was logged: ${JSON.stringify(bug).slice(0, 2000)}` })
  const leak = lines.find((line) => JSON.stringify(line).includes(PRIVATE_MARK))
  if (leak !== undefined) {
    violations.push({ check: 'log', message: `a payload or password was logged: ${JSON.stringify(leak).slice(0, 500)}` })
  }
  return violations
}

/** Longest wait of a well-behaved client, besides pauses of the machine itself. */
const STALL_MAX_MS = 2000

export function checkGoodClient ({ slowestMs, pauseMs, disconnects, faults, unacknowledged }: {
  slowestMs: number, pauseMs: number, disconnects: number, faults: readonly string[], unacknowledged: number
}): Violation[] {
  const violations: Violation[] = []
  const tell = (message: string) => { violations.push({ check: 'good client', message }) }
  if (slowestMs > STALL_MAX_MS + pauseMs) {
    tell(`an acknowledgement took ${Math.round(slowestMs)} ms; the machine paused for ${Math.round(pauseMs)} ms at most`)
  }
  if (disconnects > 0) tell(`${disconnects} of its connections were closed`)
  if (unacknowledged > 0) tell(`${unacknowledged} of its readings were never acknowledged`)
  for (const fault of faults) tell(fault)
  return violations
}
