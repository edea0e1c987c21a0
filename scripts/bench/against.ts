/**
 * Compares the gateway with an earlier checkout, by CPU seconds for a million readings (gateway and its PostgreSQL
 * together).
 *
 * Rates swing with the machine by more than most changes cost, so three gateways run in turn, in another order each
 * round: `now`, `again` (the same build) and `before`. `now / before` is the change. `now / again` is the noise: what
 * this machine shows without any change. The change counts as worse only where its median ratio is above 1.05 and above
 * that of the equal pair, in either direction.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { LoadSettings } from './load/messages.ts'
import type { BenchOptions } from './options.ts'
import { FLEET, preloadLatest } from '../harness/preload.ts'
import { layOut } from './report/report.ts'
import { type Round, untilQuiet } from './round.ts'
import { runGatewayRound } from './sides/sides.ts'
import { toSpread } from '../harness/statistics.ts'
import type { Supervisor } from './sides/supervisor.ts'
import { type DatabaseGateway, startGateway } from './sides/targets.ts'
import { toPort, type Workload } from './workloads.ts'

/** Fewer pairs do not tell a change from noise. */
const PAIRS_MIN = 7
const WORSE_RATIO = 1.05

const SIDES = ['now', 'again', 'before'] as const
type SideName = typeof SIDES[number]

/** All rounds of one workload; those of one index ran one after the other. */
export interface Comparison {
  readonly workload: Workload
  readonly rounds: Readonly<Record<SideName, readonly Round[]>>
}

interface AgainstRun {
  readonly supervisor: Supervisor
  readonly options: BenchOptions
  /** A checkout of the earlier code. */
  readonly before: string
  readonly profileDir: string | undefined
  readonly say: (line: string) => void
}

/**
 * Builds a checkout as `npm start` does.
 * @throws Error that says what is missing there
 */
export function buildBefore (directory: string): void {
  if (!existsSync(join(directory, 'package.json'))) throw new Error(`--against: ${directory} is not a checkout of the gateway`)
  if (!existsSync(join(directory, 'node_modules'))) throw new Error(`--against: run npm ci in ${directory} first`)
  const { status } = spawnSync('npm', ['run', '--silent', 'build'], { cwd: directory, stdio: ['ignore', 2, 2] })
  if (status !== 0) throw new Error(`--against: npm run build failed in ${directory}; its messages are above`)
}

export async function runAgainst (run: AgainstRun): Promise<Comparison[]> {
  const comparisons: Comparison[] = []
  for (const workload of run.options.workloads) comparisons.push(await compare(run, workload))
  return comparisons
}

async function compare ({ supervisor, options, before, profileDir, say }: AgainstRun, workload: Workload): Promise<Comparison> {
  const gateways = new Map<SideName, DatabaseGateway>()
  for (const name of SIDES) {
    const gateway = await startGateway(supervisor, {
      name, parentDir: options.dataDir, profileDir, ...(name === 'before' ? { programDir: before } : {})
    })
    if (workload.devices > 0) {
      await preloadLatest(gateway.database, workload.devices, say)
      await gateway.untilOrdered(workload.devices)
    }
    gateways.set(name, gateway)
  }
  const rounds: Record<SideName, Round[]> = { now: [], again: [], before: [] }
  for (let round = 0; round < options.rounds; round++) {
    for (const name of toTurns(round)) {
      const gateway = gateways.get(name)!
      await untilQuiet([...gateways.values()])
      const result = await runGatewayRound(supervisor, gateway, toSettings(workload, options, gateway, round))
      rounds[name].push(result)
      say(`${workload.name}  round ${round + 1}  ${name}  ${toCpuS(result)?.toFixed(2) ?? '-'} CPU s a million`)
    }
  }
  for (const gateway of [...gateways.values()].reverse()) await gateway.stop()
  return { workload, rounds }
}

/** Each side is first, second and last equally often. */
function toTurns (round: number): SideName[] {
  const first = round % SIDES.length
  const turns = [...SIDES.slice(first), ...SIDES.slice(0, first)]
  return round % 2 === 0 ? turns : turns.reverse()
}

function toSettings (workload: Workload, options: BenchOptions, gateway: DatabaseGateway, round: number): LoadSettings {
  const { traffic, protocol, qos, connections, inFlight, readingsPerAnswer, ratePerS, devices } = workload
  return {
    traffic,
    protocol,
    qos,
    port: toPort(gateway.ports, protocol),
    connections,
    inFlight,
    readingsPerAnswer,
    ratePerS,
    warmupMs: options.warmupMs,
    measureMs: options.measureMs,
    devicePrefix: devices > 0 ? FLEET : `bench-${workload.name.replace('@', '-')}-${round}-${gateway.name}`,
    devices,
    secrets: null
  }
}

function toCpuS ({ cpu }: Round): number | null {
  return cpu === null ? null : cpu.server + cpu.database
}

/** Of two sides, round by round; rounds without a figure are left out. */
function toRatios (ones: readonly Round[], others: readonly Round[], of: (round: Round) => number | null): number[] {
  return ones.flatMap((one, index) => {
    const other = others[index]
    const [figure, base] = [of(one), other === undefined ? null : of(other)]
    return figure === null || base === null || base === 0 ? [] : [figure / base]
  })
}

/** @returns whether the workload costs more than before by the rule at the top; `null` without /proc */
export function isWorse ({ rounds: { now, again, before } }: Comparison): boolean | null {
  const [change, equal] = [toRatios(now, before, toCpuS), toRatios(now, again, toCpuS)]
  if (change.length === 0 || equal.length === 0) return null
  const noise = toSpread(equal).median
  const ratio = toSpread(change).median
  return ratio > WORSE_RATIO && ratio > Math.max(noise, 1 / noise)
}

export function formatAgainst (comparisons: readonly Comparison[]): string {
  const rows = [['CPU', 'now / before', 'now / again', 'now', 'before', 'p99 now / before', 'verdict']]
  for (const comparison of comparisons) {
    const { workload, rounds: { now, again, before } } = comparison
    const worse = isWorse(comparison)
    rows.push([
      workload.name,
      formatSpread(toRatios(now, before, toCpuS)),
      formatSpread(toRatios(now, again, toCpuS)),
      formatSpread(now.flatMap((round) => toCpuS(round) ?? [])),
      formatSpread(before.flatMap((round) => toCpuS(round) ?? [])),
      formatSpread(toRatios(now, before, ({ metrics }) => metrics['p99'] ?? null)),
      worse === null ? '-' : worse ? 'WORSE' : 'no worse'
    ])
  }
  const few = comparisons.some(({ rounds }) => rounds.now.length < PAIRS_MIN)
  return layOut(rows) + (few ? `\nFewer than ${PAIRS_MIN} rounds: not enough to tell a change from noise.` : '')
}

function formatSpread (list: readonly number[]): string {
  if (list.length === 0) return '-'
  const { median, min, max } = toSpread(list)
  return `${median.toFixed(2)} (${min.toFixed(2)} - ${max.toFixed(2)})`
}
