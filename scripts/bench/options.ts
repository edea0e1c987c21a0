import { ATTACKS } from './attacks/attack-kinds.ts'
import { parseArgsOnce } from '../command-line/arguments.ts'
import {
  AUTH_WORKLOADS, DEFAULT_WORKLOADS, parseWorkloads, SPOOL_WORKLOADS, type StoreName, STORES, toAuthWorkload, toSpoolWorkload, type Workload
} from './workloads.ts'

/** A device's number has seven digits. */
const DEVICES_MAX = 10_000_000

/** What one run of the bench does. */
export interface BenchOptions {
  readonly store: StoreName
  readonly workloads: readonly Workload[]
  readonly rounds: number
  readonly warmupMs: number
  readonly measureMs: number
  /** Where the gateway's data directories are made; `undefined` is the system's temporary directory. */
  readonly dataDir: string | undefined
  readonly jsonFile: string | undefined
  readonly cpuProf: boolean
  /** Builds the gateway first; without it `dist/` is taken as it is. */
  readonly build: boolean
  /** Measures the generator and the bare servers without the gateway. */
  readonly referenceOnly: boolean
  /** Of each connection a credential, beside a gateway that needs none. */
  readonly auth: boolean
  readonly chartFile: string | undefined
  /** Measures the gateway alone at sizes of its own, instead of the workloads. */
  readonly scale: ScaleOptions | null
  /** Names of the attacks under which the latency of others is measured, instead of the workloads. */
  readonly attacks: readonly string[] | null
  /** A checkout of the code before, with which this one is compared. */
  readonly against: string | null
}

export interface ScaleOptions {
  readonly devices: readonly number[]
  /** Rows of `readings` from the start. */
  readonly history: number
}

export const USAGE = `npm run bench -- [options]

Compares the built gateway with a bare Aedes, a bare Fastify and PostgreSQL itself, in interleaved rounds.

  --workload LIST     ${DEFAULT_WORKLOADS}
                      also any {connections}x{in flight}, open@{rate per second} and get@{readings per second}; default: all of these
  --store spool       the gateway with PostgreSQL away, so that the disk spool makes everything durable, beside the gateway
                      with PostgreSQL; default workloads ${SPOOL_WORKLOADS}
  --auth              the gateway with a credential for each connection, beside the gateway without any; default ${AUTH_WORKLOADS}
  --scale devices=N,… the gateway alone with so many devices in latest, one row each: rate, CPU, memory, latency, GETs
  --history N         with --scale: so many readings in the table from the start (about 400 bytes of disk each)
  --attacks           p99 of acknowledgements of well-behaved devices under each attack, beside the same without it
  --attack LIST       only these: ${Object.keys(ATTACKS).join(', ').replace(/(.{70,90}), /g, '$1,\n                      ')}
  --against DIR       this gateway, the same again, and that of the checkout in DIR (npm ci done there): CPU for a million
                      readings, at least 7 rounds; exit status 1 where it is worse
  --rounds N          rounds of each target, default 5
  --seconds S         measured in each round, default 5
  --warmup S          before it, default 2
  --data-dir DIR      make the gateway's data directories there: the disk matters (default: the temporary directory)
  --json FILE         write every round there, too
  --chart FILE        an SVG of ratios, rates and latencies
  --cpu-prof          write the gateway's CPU profiles below bench-results/ (slows it)
  --no-build          take the gateway that lies in dist/ as it is
  --reference-only    leave the gateway out: what the generator and the bare servers do
  --help
`

function parseNumber (name: string, text: string, min: number): number {
  const value = Number(text)
  if (!Number.isFinite(value) || value < min) throw new Error(`--${name} must be a number of at least ${min}, not "${text}"`)
  return value
}

function parseScale (text: string | undefined, history: string | undefined): ScaleOptions | null {
  if (text === undefined) {
    if (history !== undefined) throw new Error('--history goes with --scale')
    return null
  }
  const list = /^devices=(\d+(?:,\d+)*)$/.exec(text)?.[1]
  if (list === undefined) throw new Error(`--scale must be devices=N,N,…, not "${text}"`)
  const devices = list.split(',').map((number) => parseNumber('scale', number, 1))
  if (devices.some((number) => number > DEVICES_MAX)) throw new Error(`--scale takes at most ${DEVICES_MAX} devices`)
  return { devices, history: Math.floor(parseNumber('history', history ?? '0', 0)) }
}

function parseAttacks (all: boolean, list: string | undefined): string[] | null {
  if (list === undefined) return all ? Object.keys(ATTACKS) : null
  const names = list.split(',')
  const unknown = names.find((name) => ATTACKS[name] === undefined)
  if (unknown !== undefined) throw new Error(`--attack knows no "${unknown}"; it takes ${Object.keys(ATTACKS).join(', ')}`)
  return names
}

function toWorkloads (list: string | undefined, store: StoreName, auth: boolean): Workload[] {
  if (store === 'spool') return parseWorkloads(list ?? SPOOL_WORKLOADS).map(toSpoolWorkload)
  if (auth) return parseWorkloads(list ?? AUTH_WORKLOADS).map(toAuthWorkload)
  return parseWorkloads(list ?? DEFAULT_WORKLOADS)
}

function parseStore (text: string): StoreName {
  const store = STORES.find((name) => name === text)
  if (store === undefined) throw new Error(`--store must be ${STORES.join(' or ')}, not "${text}"`)
  return store
}

/**
 * @param args - without node and the script
 * @returns `null` when only the usage was asked for
 * @throws Error that names the option at fault
 */
export function parseOptions (args: readonly string[]): BenchOptions | null {
  const { values } = parseArgsOnce({
    args: [...args],
    options: {
      workload: { type: 'string' },
      store: { type: 'string', default: 'database' },
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '5' },
      warmup: { type: 'string', default: '2' },
      'data-dir': { type: 'string' },
      json: { type: 'string' },
      auth: { type: 'boolean', default: false },
      chart: { type: 'string' },
      scale: { type: 'string' },
      history: { type: 'string' },
      attacks: { type: 'boolean', default: false },
      attack: { type: 'string' },
      against: { type: 'string' },
      'cpu-prof': { type: 'boolean', default: false },
      'no-build': { type: 'boolean', default: false },
      'reference-only': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false }
    }
  })
  if (values.help) return null
  const store = parseStore(values.store)
  if (store === 'spool' && values['reference-only']) {
    throw new Error('--reference-only does not go with --store spool, where both are the gateway')
  }
  const scale = parseScale(values.scale, values.history)
  const attacks = parseAttacks(values.attacks, values.attack)
  const special = [store === 'spool' && '--store spool', values.auth && '--auth', scale !== null && '--scale', attacks !== null && '--attacks',
    values.against !== undefined && '--against'].filter((name) => name !== false)
  if (special.length > 1) throw new Error(`${special.join(' and ')} do not go together`)
  if (values.auth && values['reference-only']) throw new Error('--reference-only does not go with --auth, where both are the gateway')
  return {
    store,
    workloads: toWorkloads(values.workload, store, values.auth),
    auth: values.auth,
    chartFile: values.chart,
    scale,
    attacks,
    against: values.against ?? null,
    rounds: Math.floor(parseNumber('rounds', values.rounds, 1)),
    warmupMs: parseNumber('warmup', values.warmup, 0) * 1000,
    measureMs: parseNumber('seconds', values.seconds, 0.5) * 1000,
    dataDir: values['data-dir'],
    jsonFile: values.json,
    cpuProf: values['cpu-prof'],
    build: !values['no-build'],
    referenceOnly: values['reference-only']
  }
}
