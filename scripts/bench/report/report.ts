import type { Machine } from '../../harness/machine.ts'
import type { BenchOptions } from '../options.ts'
import type { Round } from '../round.ts'
import { type Spread, toSpread } from '../../harness/statistics.ts'
import type { StoreName, Workload } from '../workloads.ts'

/** All rounds of one workload; `gateway[i]` and `reference[i]` ran one after the other. */
export interface Outcome {
  readonly workload: Workload
  readonly gateway: readonly Round[]
  readonly reference: readonly Round[]
  /** Mosquitto as a broker alone; empty where there is none. */
  readonly mosquitto: readonly Round[]
  readonly referenceName: string
  /** Readings acknowledged and found in the gateway's store, over all rounds; `null` where nothing is stored. */
  readonly stored: number | null
}

/** A generator that uses more of its core than this is the limit, not the server. */
const GENERATOR_CORES_MAX = 0.9

/** Others that take more than this from the machine make absolute figures too low. */
const OTHER_CORES_MAX = 0.2

const UNITS: Readonly<Record<string, string>> = {
  rate: 'readings/s', p50: 'ms', p99: 'ms', 'p99.9': 'ms', bytes: 'bytes/connection', refused: 'GETs'
}

const METRICS = ['rate', 'p50', 'p99', 'p99.9', 'bytes']

/** In the order of {@link METRICS}, then those that a workload adds. */
function metricsOf (rounds: readonly Round[]): string[] {
  return [...new Set([...METRICS, ...rounds.flatMap(({ metrics }) => Object.keys(metrics))])]
}

function unitOf (workload: Workload, metric: string): string {
  if (metric === 'rate' && workload.traffic === 'get') return 'GETs/s'
  return UNITS[metric] ?? 'ms'
}

function values (rounds: readonly Round[], metric: string): number[] {
  return rounds.flatMap(({ metrics }) => metrics[metric] ?? [])
}

/** Gateway over reference, round by round: both met the same noise. */
export function toRatios (outcome: Outcome, metric: string, against: 'reference' | 'mosquitto' = 'reference'): number[] {
  const reference = values(outcome[against], metric)
  return values(outcome.gateway, metric).flatMap((value, index) => {
    const other = reference[index]
    return other === undefined || other === 0 ? [] : [value / other]
  })
}

function format (value: number, digits: number): string {
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

function formatSpread (list: readonly number[], digits: number): string {
  if (list.length === 0) return '-'
  const { median, min, max }: Spread = toSpread(list)
  return `${format(median, digits)} (${format(min, digits)} - ${format(max, digits)})`
}

/** Ratios and absolute figures of each workload and metric, for the file. */
export function summarize (outcomes: readonly Outcome[]) {
  return outcomes.flatMap((outcome) => metricsOf([...outcome.gateway, ...outcome.reference]).flatMap((metric) => {
    const [gateway, reference, mosquitto] = [values(outcome.gateway, metric), values(outcome.reference, metric), values(outcome.mosquitto,
      metric)]
    if (gateway.length + reference.length === 0) return []
    const spread = (list: readonly number[]) => list.length === 0 ? null : toSpread(list)
    return {
      workload: outcome.workload.name,
      metric,
      unit: unitOf(outcome.workload, metric),
      /** The rate of an open loop is a setting; a part of a backlog within the window would mean nothing. */
      isGiven: isGiven(outcome.workload, metric),
      referenceName: outcome.referenceName,
      ratio: spread(toRatios(outcome, metric)),
      ratioToMosquitto: spread(toRatios(outcome, metric, 'mosquitto')),
      gateway: spread(gateway),
      reference: spread(reference),
      mosquitto: spread(mosquitto)
    }
  }))
}

export type Summary = ReturnType<typeof summarize>

function isGiven ({ ratePerS }: Workload, metric: string): boolean {
  return metric === 'rate' && ratePerS > 0
}

/** Lays rows out in columns: the first to the left, the others to the right. */
export function layOut (rows: ReadonlyArray<readonly string[]>): string {
  const widths = rows.reduce<number[]>((all, row) => row.map((cell, column) => Math.max(all[column] ?? 0, cell.length)), [])
  return rows.map((row) => row.map((cell, column) => column === 0
    ? cell.padEnd(widths[column] ?? 0)
    : cell.padStart(widths[column] ?? 0)).join('  ').trimEnd()).join('\n')
}

/** Machine, versions and settings, before the first round. */
export function formatHead (machine: Machine, postgres: string | null, options: BenchOptions): string {
  const packages = Object.entries(machine.packages).map(([name, version]) => `${name} ${version}`).join(', ')
  return [
    `machine    ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.system}`,
    `load       ${machine.loadBefore.toFixed(2)} before the start` +
      `${machine.loadBefore > machine.cores / 4 ? ': OTHERS ARE BUSY HERE, absolute figures are too low' : ''}`,
    `disk       ${machine.fileSystem}, fdatasync ${machine.fdatasyncMs.toFixed(2)} ms (median of 50)`,
    `versions   node ${machine.node}, ${packages}; commit ${machine.commit}`,
    ...(postgres === null ? [] : [`postgres   ${postgres}`]),
    `store      ${options.store === 'spool' ? 'the disk spool, PostgreSQL away; beside it PostgreSQL' : 'PostgreSQL'}`,
    `settings   ${options.rounds} rounds, ${options.warmupMs / 1000} s warm-up, ${options.measureMs / 1000} s measured` +
      `${options.cpuProf ? '; CPU profiling slows the gateway' : ''}`,
    'workloads  ' + options.workloads
      .map(({ name, about, caveat }) => `${name}: ${about}${caveat === null ? '' : `; ${caveat}`}`).join('\n           '),
    'Generator, servers and PostgreSQL share this machine. Figures: median (smallest - largest).'
  ].join('\n')
}

function label (workload: Workload, metric: string): string {
  return metric === 'rate' || metric === 'bytes' ? workload.name : `${workload.name} ${metric}`
}

/** The tables: ratios, absolute figures, costs. */
export function formatOutcomes (outcomes: readonly Outcome[], store: StoreName): string {
  const [measured, compared] = store === 'spool' ? ['spool', 'database'] : ['gateway', 'reference']
  const ratios = [[`${measured} / ${compared}`, 'ratio', 'reference']]
  const hasMosquitto = outcomes.some(({ mosquitto }) => mosquitto.length > 0)
  const absolute = [['absolute', 'unit', measured, compared, ...(hasMosquitto ? ['Mosquitto'] : [])]]
  const costs = [[
    'costs', `CPU s per million: ${measured}`, 'PostgreSQL', compared, 'peak RSS MiB', 'generator cores', 'stored and verified'
  ]]
  for (const outcome of outcomes) {
    const { workload, gateway, reference, mosquitto, referenceName, stored } = outcome
    for (const metric of metricsOf([...gateway, ...reference])) {
      const ofGateway = values(gateway, metric)
      const ofReference = values(reference, metric)
      if (ofGateway.length + ofReference.length === 0) continue
      const unit = unitOf(workload, metric)
      const digits = unit === 'ms' ? 2 : 0
      for (const [name, list] of [[referenceName, toRatios(outcome, metric)], ['Mosquitto', toRatios(outcome, metric,
        'mosquitto')]] as const) {
        // The rate of an open loop is a setting; a part of a backlog within the window would mean nothing.
        if (list.length > 0 && !isGiven(workload, metric)) ratios.push([label(workload, metric), formatSpread(list, 2), name])
      }
      absolute.push([
        label(workload, metric), unit, formatSpread(ofGateway, digits), formatSpread(ofReference, digits),
        ...(hasMosquitto ? [formatSpread(values(mosquitto, metric), digits)] : [])
      ])
    }
    const cpu = (rounds: readonly Round[], of: 'server' | 'database') =>
      formatMedian(rounds.flatMap((round) => round.cpu?.[of] ?? []), 2)
    const referenceCpu = workload.reference === 'postgres' ? cpu(reference, 'database') : cpu(reference, 'server')
    const peak = gateway.flatMap(({ peakRssBytes }) => peakRssBytes ?? [])
    costs.push([
      workload.name, cpu(gateway, 'server'), cpu(store === 'spool' ? reference : gateway, 'database'), referenceCpu,
      peak.length === 0 ? '-' : format(Math.max(...peak) / 2 ** 20, 0),
      `${formatCores(gateway)} / ${formatCores(reference)}`,
      stored === null ? '-' : format(stored, 0)
    ])
  }
  const authentication = outcomes.flatMap(formatAuthentication)
  const parts = [ratios.length > 1
    ? layOut(ratios)
    : '', layOut(absolute), layOut(costs), authentication.join('\n'), warnings(outcomes, measured).join('\n')]
  return parts.filter((part) => part !== '').join('\n\n')
}

/** What a credential may cost; a rate that falls by more than this is worth a look. */
const AUTHENTICATION_SHARE_MAX = 0.05

function formatAuthentication (outcome: Outcome): string[] {
  const ratios = toRatios(outcome, 'rate')
  if (outcome.workload.reference !== 'anonymous' || ratios.length === 0) return []
  const cost = 1 - toSpread(ratios).median
  return [`${outcome.workload.name}: credentials cost ${(cost * 100).toFixed(1)} % of the rate, at most ` +
    `${AUTHENTICATION_SHARE_MAX * 100} %: ` +
    (cost <= AUTHENTICATION_SHARE_MAX ? 'holds' : 'DOES NOT HOLD')]
}

function formatMedian (list: readonly number[], digits: number): string {
  return list.length === 0 ? '-' : format(toSpread(list).median, digits)
}

function generatorCores (rounds: readonly Round[]): number[] {
  return rounds.flatMap(({ report }) => report?.cpuCores ?? [])
}

function formatCores (rounds: readonly Round[]): string {
  return formatMedian(generatorCores(rounds), 2)
}

function warnings (outcomes: readonly Outcome[], measured: string): string[] {
  const lines: string[] = []
  for (const { workload, gateway, reference, mosquitto, referenceName } of outcomes) {
    for (const [name, rounds] of [[measured, gateway], [referenceName, reference], ['Mosquitto', mosquitto]] as const) {
      const cores = generatorCores(rounds)
      if (name !== 'PostgreSQL' && cores.length > 0 && toSpread(cores).median > GENERATOR_CORES_MAX) {
        const used = toSpread(cores).median.toFixed(2)
        lines.push(`${workload.name}: the generator used ${used} of one core against the ${name}, so it may be the limit there`)
      }
      const others = rounds.flatMap(({ otherCores }) => otherCores ?? [])
      if (others.length > 0 && toSpread(others).max > OTHER_CORES_MAX) {
        const { median, max } = toSpread(others)
        const cores = `${median.toFixed(2)} cores meanwhile, up to ${max.toFixed(2)}`
        lines.push(`${workload.name}, ${name}: other processes used ${cores}: a noisy result`)
      }
      const replayed = rounds.reduce((sum, round) => sum + round.replayed, 0)
      if (replayed > 0) {
        const readings = format(replayed, 0)
        lines.push(`${workload.name}, ${name}: PostgreSQL did not keep up, and the spool acknowledged ${readings} readings`)
      }
      const lag = rounds.flatMap(({ report }) => report?.sendLagP99Ms ?? [])
      if (lag.length > 0) {
        const ms = toSpread(lag).median.toFixed(2)
        lines.push(`${workload.name}, ${name}: the generator itself was up to ${ms} ms late (p99), which is part of the latency`)
      }
      const rates = rounds.flatMap(({ report }) => report === null ? [] : report.readingsMeasured / report.measuredMs * 1000)
      if (workload.ratePerS > 0 && rates.length > 0 && toSpread(rates).median < workload.ratePerS * 0.98) {
        lines.push(`${workload.name}: the ${name} did not keep up, so its latencies grew with the length of the round`)
      }
    }
  }
  return lines
}
