import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { FAULTS } from '../chaos/catalogue.ts'
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
  readonly violations: ReadonlyArray<{ readonly checker: string, readonly message: string }>
}

interface Run {
  readonly date: string
  readonly commit: string
  readonly seed: number
  readonly outcomes: readonly Recorded[]
}

const MESSAGE_LENGTH_MAX = 120

/** The faults of the harness, the sum of every run on record, and what those runs found wrong. */
export function chaosSections (root: string): Section[] {
  const runs = readFileSync(join(root, 'scripts/chaos/results.jsonl'), 'utf8').trim().split('\n')
    .map((line) => JSON.parse(line) as Run)
  const faults = FAULTS.map(({ name, summary }) => [`\`${name}\``, summary])
  return [
    { file: FILE, name: 'faults', text: toMarkdownTable(['fault', 'what is done, and what must hold'], faults) },
    { file: FILE, name: 'records', text: toRecords(runs), isRecord: true },
    { file: FILE, name: 'violations', text: toViolations(runs), isRecord: true }
  ]
}

function toRecords (runs: readonly Run[]): string {
  const outcomes = runs.flatMap((run) => run.outcomes)
  const rows = [...FAULTS, { name: 'cluster' }, { name: 'cluster-kafka' }, { name: 'cluster-streams' }]
    .map(({ name }) => ({ name, all: outcomes.filter(({ fault }) => fault === name) }))
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

function toViolations (runs: readonly Run[]): string {
  const rows = runs.flatMap(({ date, commit, seed, outcomes }) => outcomes.flatMap(({ fault, violations }) =>
    toKinds(violations).map(([{ checker, message }, ...others]) => [
      date.slice(0, 10), commit, String(seed), `\`${fault}\``, checker,
      toShort(message) + (others.length === 0 ? '' : ` (and ${others.length} like it)`)
    ])))
  return toMarkdownTable(['date', 'commit', 'seed', 'fault', 'check', 'what was found'], rows)
}

type Violations = [Recorded['violations'][number], ...Recorded['violations']]

/** Those that differ in their names and numbers alone are of one kind. */
function toKinds (violations: Recorded['violations']): Violations[] {
  const kinds = new Map<string, Violations>()
  for (const violation of violations) {
    const kind = `${violation.checker} ${violation.message.replaceAll(/[\w/-]*\d+/g, '')}`
    const alike = kinds.get(kind)
    if (alike === undefined) kinds.set(kind, [violation])
    else kinds.set(kind, [...alike, violation])
  }
  return [...kinds.values()]
}

function toShort (message: string): string {
  const line = message.replaceAll(/\s+/g, ' ')
  return line.length <= MESSAGE_LENGTH_MAX ? line : `${line.slice(0, MESSAGE_LENGTH_MAX)} …`
}
