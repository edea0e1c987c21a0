import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { FAULTS } from '../chaos/faults/catalogue.ts'
import { type Section, toMarkdownTable } from './markdown.ts'

const FILE = 'scripts/chaos/README.md'

/** What this table needs of an outcome in `results.jsonl`. */
interface Recorded {
  readonly fault: string
  readonly cycles: number
  readonly acknowledged: number
  readonly lost: number
  readonly duplicated: number
  readonly slowestAckMs: number
  readonly recoveryMs: number
  readonly peakRssBytes: number
  readonly violations: readonly unknown[]
}

/** The faults of the harness, and the sum of every run on record. */
export function chaosSections (root: string): Section[] {
  const faults = FAULTS.map(({ name, summary }) => [`\`${name}\``, summary])
  return [
    { file: FILE, name: 'faults', text: toMarkdownTable(['fault', 'what is done, and what must hold'], faults) },
    { file: FILE, name: 'records', text: toRecords(join(root, 'scripts/chaos/results.jsonl')), isRecord: true }
  ]
}

function toRecords (path: string): string {
  const runs = readFileSync(path, 'utf8').trim().split('\n')
    .map((line) => JSON.parse(line) as { readonly date: string, readonly outcomes: readonly Recorded[] })
  const outcomes = runs.flatMap((run) => run.outcomes)
  const rows = FAULTS.map(({ name }) => ({ name, all: outcomes.filter(({ fault }) => fault === name) }))
    .filter(({ all }) => all.length > 0)
    .map(({ name, all }) => [`\`${name}\``, String(all.length), ...toFigures(all)])
  const dates = runs.map(({ date }) => date.slice(0, 10)).sort()
  const heads = ['fault', 'runs', 'cycles', 'acknowledged', 'lost', 'stored twice', 'slowest acknowledgement',
    'recovery', 'peak memory',
    'runs with a violation']
  const total = ['all', String(runs.length), ...toFigures(outcomes)]
  return `${runs.length} runs from ${dates[0]} to ${dates.at(-1)}:\n\n` +
    toMarkdownTable(heads, [...rows, total], ['left', ...heads.slice(1).map(() => 'right' as const)])
}

function toFigures (outcomes: readonly Recorded[]): string[] {
  const sum = (pick: (outcome: Recorded) => number) =>
    outcomes.reduce((total, outcome) => total + pick(outcome), 0).toLocaleString('en')
  const largest = (pick: (outcome: Recorded) => number) => Math.max(...outcomes.map(pick))
  return [
    sum(({ cycles }) => cycles), sum(({ acknowledged }) => acknowledged), sum(({ lost }) => lost),
    sum(({ duplicated }) => duplicated),
    `${(largest(({ slowestAckMs }) => slowestAckMs) / 1000).toFixed(1)} s`,
      `${(largest(({ recoveryMs }) => recoveryMs) / 1000).toFixed(1)} s`,
    `${Math.round(largest(({ peakRssBytes }) => peakRssBytes) / 2 ** 20)} MiB`,
    String(outcomes.filter(({ violations }) => violations.length > 0).length)
  ]
}
