/**
 * Why the reading that waited longest had to wait: because no gateway was up, or because one was slow. If a gateway is
 * killed before it answers, a reading waits for the next gateway, so its wait is the sum of many.
 */
import type { Entry, LedgerEntries } from '../../harness/checks/ledger-file.ts'

/** One gateway process, Unix milliseconds; `null` until then. */
export interface Life {
  readonly startedAtMs: number
  readyAtMs: number | null
  endedAtMs: number | null
}

export interface Waits {
  readonly slowestMs: number
  readonly slowest: Entry | null
  /** From the last write of a reading to its acknowledgement: what one gateway took, restarts left out. */
  readonly slowestAnswerMs: number
  readonly slowestAnswer: Entry | null
}

export const NO_WAITS: Waits = { slowestMs: 0, slowest: null, slowestAnswerMs: 0, slowestAnswer: null }

/** @param before - the result for the parts before this one */
export function measureWaits (part: LedgerEntries, before = NO_WAITS): Waits {
  const waits: { -readonly [key in keyof Waits]: Waits[key] } = { ...before }
  for (const entries of part.values()) {
    for (const entry of entries) {
      if (entry === undefined || entry.acknowledgedAtMs === null) continue
      const waitedMs = entry.acknowledgedAtMs - entry.sentAtMs
      if (waitedMs > waits.slowestMs) Object.assign(waits, { slowestMs: waitedMs, slowest: entry })
      const answerMs = entry.acknowledgedAtMs - lastWriteMs(entry)
      if (answerMs > waits.slowestAnswerMs) Object.assign(waits, { slowestAnswerMs: answerMs, slowestAnswer: entry })
    }
  }
  return waits
}

/** @returns when it was written last before it was acknowledged, Unix milliseconds */
function lastWriteMs ({ sentAtMs, resentAtMs, acknowledgedAtMs }: Entry): number {
  return resentAtMs.findLast((atMs) => atMs <= acknowledgedAtMs!) ?? sentAtMs
}

/** When it was written again, and what the gateways were doing meanwhile, in seconds from its first write. */
export function explainWait ({ sentAtMs, resentAtMs, acknowledgedAtMs }: Entry, lives: readonly Life[]): string {
  const at = (ms: number | null) => ms === null ? 'never' : ((ms - sentAtMs) / 1000).toFixed(1)
  const during = lives.filter(({ startedAtMs, endedAtMs }) =>
    startedAtMs <= (acknowledgedAtMs ?? Infinity) && (endedAtMs ?? Infinity) >= sentAtMs)
  return `written again at ${resentAtMs.map(at).join(' ') || 'no time'}; gateways (start/ready/end) ${
    during.map(({ startedAtMs, readyAtMs, endedAtMs }) => [startedAtMs, readyAtMs, endedAtMs].map(at).join('/')).join(' ')}`
}
