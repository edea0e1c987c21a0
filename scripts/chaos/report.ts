import type { Outcome } from './outcome.ts'

const HEADS = ['fault', 'cycles', 'acknowledged', 'lost', 'duplicated', 'slowest ack', 'slowest answer', 'recovery', 'peak memory', '']

/** One row a fault, aligned; violations follow below. */
export function formatOutcomes (outcomes: readonly Outcome[]): string {
  const rows = outcomes.map((outcome) => [
    outcome.fault,
    String(outcome.cycles),
    String(outcome.acknowledged),
    String(outcome.lost),
    String(outcome.duplicated),
    `${(outcome.slowestAckMs / 1000).toFixed(2)} s`,
    `${(Number(outcome.figures['slowestAnswerMs'] ?? 0) / 1000).toFixed(2)} s`,
    `${(outcome.recoveryMs / 1000).toFixed(2)} s`,
    `${Math.round(outcome.peakRssBytes / 2 ** 20)} MiB`,
    outcome.violations.length === 0 ? 'ok' : `${outcome.violations.length} violated`
  ])
  const widths = HEADS.map((head, column) => Math.max(head.length, ...rows.map((row) => row[column]!.length)))
  const line = (cells: readonly string[]) =>
    cells.map((cell, column) => column === 0 || column === HEADS.length - 1
      ? cell.padEnd(widths[column]!)
      : cell.padStart(widths[column]!)).join('  ').trimEnd()
  const violations = outcomes.flatMap(({ fault, violations }) =>
    violations.map(({ checker, message }) => `${fault}  ${checker}  ${message}`))
  const figures = outcomes.map(({ fault, figures }) =>
    `${fault}: ${Object.entries(figures).map(([name, value]) => `${name} ${value}`).join(', ')}`)
  const verdicts = outcomes.flatMap(({ fault, verdicts }) => verdicts.map((verdict) => `${fault}  ${verdict}`))
  return [
    [HEADS, ...rows].map(line).join('\n'), figures.join('\n'), verdicts.join('\n'), violations.join('\n')
  ].filter((part) => part !== '').join('\n\n')
}
