import type { LoadSettings } from './load/messages.ts'
import { GET_SORTS } from './load/messages.ts'
import type { BenchOptions, ScaleOptions } from './options.ts'
import { FLEET, preloadHistory, preloadLatest } from '../harness/preload.ts'
import { layOut } from './report/report.ts'
import { type Round, untilQuiet } from './round.ts'
import { runGatewayRound } from './sides/sides.ts'
import { toSpread } from '../harness/statistics.ts'
import type { Supervisor } from './sides/supervisor.ts'
import { startGateway } from './sides/targets.ts'

/** The phases at each size. The devices of the fleet report at random. */
const PHASES = {
  rate: { traffic: 'closed', connections: 500, inFlight: 20, ratePerS: 0 },
  ack: { traffic: 'open', connections: 1000, inFlight: 32, ratePerS: 10_000 },
  calm: { traffic: 'get', connections: 1000, inFlight: 32, ratePerS: 5000 },
  get: { traffic: 'get', connections: 1000, inFlight: 32, ratePerS: 20_000 }
} as const

type Phase = keyof typeof PHASES

/** One size, every round of each phase. */
export interface SizeOutcome {
  readonly devices: number
  readonly history: number
  readonly rounds: Readonly<Record<Phase, readonly Round[]>>
}

interface ScaleRun {
  readonly supervisor: Supervisor
  readonly options: BenchOptions
  readonly scale: ScaleOptions
  readonly profileDir: string | undefined
  readonly say: (line: string) => void
}

/** Measures the gateway alone at each size, on servers of its own. */
export async function runScale (run: ScaleRun): Promise<SizeOutcome[]> {
  const outcomes: SizeOutcome[] = []
  for (const devices of run.scale.devices) outcomes.push(await runSize(run, devices))
  return outcomes
}

async function runSize ({ supervisor, options, scale: { history }, profileDir, say }: ScaleRun, devices: number): Promise<SizeOutcome> {
  const gateway = await startGateway(supervisor, { name: 'gateway', parentDir: options.dataDir, profileDir })
  await preloadLatest(gateway.database, devices, say)
  if (history > 0) await preloadHistory(gateway.database, { readings: history, devices, directory: gateway.dataDir }, say)
  await gateway.untilOrdered(devices)
  const rounds: Record<Phase, Round[]> = { rate: [], ack: [], calm: [], get: [] }
  for (let round = 0; round < options.rounds; round++) {
    for (const [phase, shape] of Object.entries(PHASES) as Array<[Phase, typeof PHASES[Phase]]>) {
      await untilQuiet([gateway])
      const settings: LoadSettings = {
        ...shape,
        protocol: 'mqtt',
        qos: 1,
        port: gateway.ports.mqtt,
        readingsPerAnswer: 1,
        warmupMs: options.warmupMs,
        measureMs: options.measureMs,
        devicePrefix: FLEET,
        devices,
        secrets: null
      }
      const result = await runGatewayRound(supervisor, gateway, settings)
      rounds[phase].push(result)
      const metrics = Object.entries(result.metrics).map(([name, value]) => `${name} ${value.toFixed(/^p\d/.test(name) ? 2 : 0)}`)
      say(`${devices} devices  ${phase}  round ${round + 1}  ${metrics.join('  ')}`)
    }
  }
  await gateway.stop()
  return { devices, history, rounds }
}

function median (rounds: readonly Round[], pick: (round: Round) => number | null | undefined, digits: number): string {
  const values = rounds.flatMap((round) => pick(round) ?? [])
  if (values.length === 0) return '-'
  const { median: middle } = toSpread(values)
  return middle.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

/** One row a size: medians over rounds, and the peak of memory. */
export function formatScale (sizes: readonly SizeOutcome[]): string {
  const rows = sizes.map(({ devices, history, rounds: { rate, ack, calm, get } }) => {
    const peak = [...rate, ...ack, ...calm, ...get].flatMap(({ peakRssBytes }) => peakRssBytes ?? [])
    return [
      devices.toLocaleString('en-US'),
      history.toLocaleString('en-US'),
      median(rate, ({ metrics }) => metrics['rate'], 0),
      median(rate, ({ cpu }) => cpu?.server, 2),
      median(rate, ({ cpu }) => cpu?.database, 2),
      peak.length === 0 ? '-' : (Math.max(...peak) / 2 ** 20).toFixed(0),
      median(ack, ({ metrics }) => metrics['p99'], 2),
      median(calm, ({ metrics }) => metrics['p99'], 2),
      ...GET_SORTS.map((sort) => median(get, ({ metrics }) => metrics[`p99 ${sort}`], 2)),
      median(get, ({ metrics }) => metrics['p99 deep'], 2)
    ]
  })
  const head = [
    'devices', 'history', 'QoS 1 500x20 /s', 'gateway CPU s/M', 'PostgreSQL CPU s/M', 'peak RSS MiB',
    'ack p99 ms at 10,000/s', 'GET p99 ms at 5,000/s',
    ...GET_SORTS.map((sort) => `GET ${sort} p99 ms`), 'GET deep p99 ms'
  ]
  const replayed = sizes.flatMap(({ rounds }) => Object.values(rounds).flat()).reduce((sum, round) => sum + round.replayed, 0)
  const late = replayed === 0
    ? ''
    : `\n${replayed.toLocaleString('en-US')} readings went through the spool: PostgreSQL took longer for them than a commit may.`
  return `${layOut([head, ...rows])}${late}\nGETs: first page in both orders, 40/s, while 20,000 readings/s arrive (or 5,000, by all ` +
    'sorts); deep: from offset 90,000, at 20,000.'
}
