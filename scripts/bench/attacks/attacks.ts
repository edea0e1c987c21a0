import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { compiled } from '../../harness/compile.ts'
import type { AttackReport, AttackSettings } from './attack-ground.ts'
import { ATTACKS } from './attack-kinds.ts'
import { addPrincipals, arm, closeGateway } from '../load/credentials.ts'
import type { LoadSettings } from '../load/messages.ts'
import type { BenchOptions } from '../options.ts'
import { layOut } from '../report/report.ts'
import { type Round, runRound, untilQuiet } from '../round.ts'
import { toSpread } from '../../harness/statistics.ts'
import type { Supervisor } from '../sides/supervisor.ts'
import { type DatabaseGateway, startBare, startGateway, type Target } from '../sides/targets.ts'

/** Devices that behave well: a reading each, every tenth of a second. */
const GOOD = {
  traffic: 'open', protocol: 'mqtt', qos: 1, connections: 200, inFlight: 32, readingsPerAnswer: 1, ratePerS: 2000, devices: 0
} as const

/** Principals that attack. */
const MALLORIES = Array.from({ length: 20 }, (_, index) => `mallory-${index}`)

/** An attack delays others when their p99 grows by more than half. */
const DELAY_MAX = 1.5

/**
 * One attack: rounds without it, rounds while it strikes a listener that discards everything, and rounds while it
 * strikes the gateway. A real attacker has a machine of its own. Here it takes part of this one in the second and the
 * third kind of rounds, so their difference is what the gateway adds.
 */
export interface AttackOutcome {
  readonly name: string
  readonly calm: readonly Round[]
  /** Empty where it would send more to such a listener. */
  readonly elsewhere: readonly Round[]
  readonly attacked: readonly Round[]
  readonly reports: readonly AttackReport[]
}

interface AttackRun {
  readonly supervisor: Supervisor
  readonly options: BenchOptions
  readonly names: readonly string[]
  readonly profileDir: string | undefined
  readonly say: (line: string) => void
}

/**
 * Measures how long well-behaved devices wait for acknowledgements, with and without each attack in turn, on one
 * gateway that needs credentials.
 * @throws when one of them is disconnected or a reading of theirs is not stored, or when the gateway ends
 */
export async function runAttacks ({ supervisor, options, names, profileDir, say }: AttackRun): Promise<AttackOutcome[]> {
  const gateway = await startGateway(supervisor, { name: 'gateway', parentDir: options.dataDir, profileDir })
  await closeGateway(gateway)
  const secrets = await addPrincipals(gateway, 'device', MALLORIES)
  const listener = await startBare(supervisor, 'listener')
  const outcomes = names.map((name) => ({
    name, calm: [] as Round[], elsewhere: [] as Round[], attacked: [] as Round[], reports: [] as AttackReport[]
  }))
  for (let round = 0; round < options.rounds; round++) {
    for (const { name, calm, elsewhere, attacked, reports } of outcomes) {
      const settings = (kind: string): LoadSettings => ({
        ...GOOD,
        port: gateway.ports.mqtt,
        warmupMs: options.warmupMs,
        measureMs: options.measureMs,
        devicePrefix: `bench-${name}-${round}-${kind}`,
        secrets: null
      })
      const strike = async (kind: string, { mqtt, http }: Target['ports']): Promise<{ round: Round, report: AttackReport }> => {
        const attacker = supervisor.fork(compiled('attacks/attacker'))
        const round = await serve(supervisor, gateway, settings(kind), (victim) => {
          attacker.send({ name, mqttPort: mqtt, httpPort: http, secrets, victim } satisfies AttackSettings)
        })
        return { round, report: await endAttack(supervisor, attacker) }
      }
      calm.push(await serve(supervisor, gateway, settings('calm'), null))
      if (ATTACKS[name]?.isPaced === true) elsewhere.push((await strike('elsewhere', listener.ports)).round)
      const { round: struck, report } = await strike('attacked', gateway.ports)
      attacked.push(struck)
      reports.push(report)
      const p99s = [calm, elsewhere, attacked].map((rounds) => toP99(rounds.at(-1)).toFixed(2))
      say(`${name}  round ${round + 1}  p99 ${p99s.join(' -> ')} ms  ${report.attempts} attempts  ${report.closed} closed`)
    }
  }
  await listener.stop()
  await gateway.stop()
  return outcomes
}

/** One round of the devices that behave well; the attack begins once they are connected. */
async function serve (
  supervisor: Supervisor, gateway: DatabaseGateway, settings: LoadSettings, attack: ((victim: string) => void) | null
): Promise<Round> {
  await untilQuiet([gateway])
  const { devicePrefix } = settings
  const round = await runRound(supervisor, gateway, await arm(gateway, settings), 'load', [], () => attack?.(`${devicePrefix}-0`))
  const sent = round.report?.readingsSent ?? 0
  const { rows: [row] } = await gateway.database.query<{ count: string }>('select count(*) from readings where device like $1 || \'-%\'',
    [devicePrefix])
  if (Number(row?.count) !== sent) throw new Error(`${devicePrefix}: ${sent} readings were acknowledged and ${row?.count} are stored`)
  return round
}

async function endAttack (supervisor: Supervisor, attacker: ChildProcess): Promise<AttackReport> {
  const told = once(attacker, 'message')
  attacker.send('end')
  const [report] = await told as [AttackReport]
  await supervisor.stop(attacker)
  if (report.attempts === 0) throw new Error('the attacker did nothing')
  return report
}

const toP99 = (round: Round | undefined) => round?.report?.latencyMs?.p99 ?? NaN

function format (values: readonly number[], digits: number): string {
  const { median, min, max } = toSpread(values)
  return `${median.toFixed(digits)} (${min.toFixed(digits)} - ${max.toFixed(digits)})`
}

/** One row an attack: medians with smallest and largest; ratios round by round. */
export function formatAttacks (outcomes: readonly AttackOutcome[]): string {
  const toRatios = (rounds: readonly Round[], bases: readonly Round[]) => rounds.map((round, index) => toP99(round) / toP99(bases[index]))
  const toDelays = ({ calm, elsewhere, attacked }: AttackOutcome) => toRatios(attacked, elsewhere.length > 0 ? elsewhere : calm)
  const rows = outcomes.map((outcome) => {
    const { name, calm, elsewhere, attacked, reports } = outcome
    const toMedian = (of: (report: AttackReport) => number, digits: number) => toSpread(reports.map(of)).median.toFixed(digits)
    return [
      name,
      format(toDelays(outcome), 2),
      format(toRatios(attacked, calm), 2),
      format(calm.map(toP99), 1),
      elsewhere.length > 0 ? format(elsewhere.map(toP99), 1) : '-',
      format(attacked.map(toP99), 1),
      toMedian(({ attempts }) => attempts, 0),
      toMedian(({ closed }) => closed, 0),
      toMedian(({ cpuCores }) => cpuCores, 2),
      ATTACKS[name]?.what ?? ''
    ]
  })
  const delayed = outcomes.filter((outcome) => toSpread(toDelays(outcome)).median > DELAY_MAX).map(({ name }) => name)
  const head = [
    'attack', 'delay', 'over calm', 'p99 ms calm', 'elsewhere', 'under it', 'attempts', 'closed', 'attacker cores', 'what'
  ]
  const rate = GOOD.ratePerS.toLocaleString('en-US')
  return `${layOut([head, ...rows])}

p99 of acknowledgements: ${GOOD.connections} devices, ${rate} readings/s, open loop.
All of their readings were stored, and none was disconnected.
elsewhere: the same attack on a listener that discards everything, so that both hold the attacker's share of this machine.
delay: p99 under attack over p99 elsewhere, or over calm where the attack would be another one elsewhere.
Delayed by more than half: ${delayed.length === 0 ? 'none' : delayed.join(', ')}`
}
