import type { Ending } from './fleet.ts'
import type { Tally } from './tally.ts'

/** The report of a finished run, a line each. @param elapsedMs - from the first connection to the last */
export function toReport (tally: Tally, ending: Ending, elapsedMs: number): string[] {
  const isEndless = tally.planned === Infinity
  const ofPlanned = isEndless ? '' : ` of ${count(tally.planned)}`
  const unsent = isEndless ? '' : `, ${count(tally.unsent)} readings not sent`
  const rows: Array<[string, string]> = [
    ['sent', `${count(tally.sent)}${ofPlanned} readings in ${(elapsedMs / 1000).toFixed(1)} s` +
      ` (${count(Math.round(tally.sent / Math.max(elapsedMs / 1000, 0.001)))}/s)`],
    ['acknowledged', count(tally.acknowledged)],
    ['unacknowledged', count(tally.unacknowledged)],
    ['rejected', toRejections(tally)],
    ['resent', `${count(tally.resent)} (DUP), over ${count(tally.reconnects)} reconnects`],
    ['acknowledgement', toLatency(tally)]
  ]
  const lines = rows.map(([label, text]) => `${label.padEnd(16)}${text}`)
  if (ending === 'stopped') lines.push(`stopped on request${unsent}`)
  if (ending === 'stalled') {
    const because = tally.lastFault === null ? '' : `; the last fault of a connection: ${tally.lastFault}`
    lines.push(`gave up: no acknowledgement came any more${unsent}${because}`)
  }
  return lines
}

/** 0 when every reading is acknowledged and none was refused; after a stop on request, unsent readings do not count. */
export function toExitCode (tally: Tally, ending: Ending): 0 | 1 {
  if (tally.unacknowledged > 0 || tally.rejected > 0) return 1
  return ending === 'stalled' ? 1 : 0
}

function toRejections (tally: Tally): string {
  const first = tally.firstRejection === null ? '' : ` (acknowledged, yet not stored as readings; the first: ${tally.firstRejection})`
  const deaf = tally.deaf === 0 ? '' : `; ${count(tally.deaf)} devices may not subscribe to their rejections, so theirs are unknown`
  return count(tally.rejected) + first + deaf
}

function toLatency (tally: Tally): string {
  const latency = tally.latency()
  if (latency === null) return 'none measured'
  return `p50 ${toMs(latency.p50Ms)}, p99 ${toMs(latency.p99Ms)}, max ${toMs(latency.maxMs)}`
}

function toMs (ms: number): string {
  return `${ms < 10 ? ms.toFixed(2) : ms < 100 ? ms.toFixed(1) : count(Math.round(ms))} ms`
}

function count (n: number): string {
  return n.toLocaleString('en-US')
}
