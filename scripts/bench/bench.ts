import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { compile, root } from './compile.ts'
import { describeMachine } from './machine.ts'
import type { LoadSettings } from './messages.ts'
import { type BenchOptions, parseOptions, USAGE } from './options.ts'
import { hasProc, readDescriptorLimit } from './process-stat.ts'
import { formatHead, formatOutcomes, type Outcome, summarize } from './report.ts'
import { type Round, runRound, untilQuiet } from './round.ts'
import { Supervisor } from './supervisor.ts'
import { type Gateway, startBare, startGateway, startSpoolGateway, type Target } from './targets.ts'
import type { Workload } from './workloads.ts'

/** What a process needs beside the sockets under test: libraries, pipes, PostgreSQL. */
const SPARE_DESCRIPTORS = 100

/** Time for readings that went to the spool to arrive in PostgreSQL. */
const STORED_TIMEOUT_MS = 30_000

/** Connections and rows a batch, as the gateway has them by default. */
const POSTGRES_LOAD = ['2', '2000'] as const

const REFERENCE_NAMES = {
  broker: 'bare broker', http: 'bare Fastify', postgres: 'PostgreSQL', database: 'database store'
} as const

const say = (line: string) => console.error(line)

function toSettings (
  workload: Workload, options: BenchOptions, target: Target, round: number, role: Side['role']
): LoadSettings {
  const { traffic, protocol, qos, connections, inFlight, readingsPerAnswer, ratePerS } = workload
  return {
    traffic,
    protocol,
    qos,
    port: target.ports[protocol],
    connections,
    inFlight,
    readingsPerAnswer,
    ratePerS,
    warmupMs: options.warmupMs,
    measureMs: options.measureMs,
    devicePrefix: `bench-${workload.name.replace('@', '-')}-${round}${role === 'reference' ? '-reference' : ''}`
  }
}

/** One round against the gateway, and the proof that what it acknowledged is stored: a rate of lost readings is worthless. */
async function runGatewayRound (supervisor: Supervisor, gateway: Gateway, settings: LoadSettings): Promise<Round> {
  const before = await gateway.stored()
  const round = await runRound(supervisor, gateway, settings)
  const sent = round.report?.readingsSent ?? 0
  const deadlineMs = performance.now() + STORED_TIMEOUT_MS
  let after = await gateway.stored()
  while (after.rows - before.rows < sent && performance.now() < deadlineMs) {
    await sleep(200)
    after = await gateway.stored()
  }
  const found = after.rows - before.rows
  if (found !== sent || after.duplicates > 0 || after.deadLettered > 0 || after.refused > 0) {
    throw new Error(`${settings.devicePrefix}: ${sent} readings were acknowledged and ${found} are ${gateway.place}; ` +
      `duplicates ${after.duplicates}, dead letters ${after.deadLettered}, refused ${after.refused} (all must be 0)`)
  }
  return { ...round, replayed: after.replayed - before.replayed }
}

/** One of the two that are compared. */
interface Side {
  readonly role: 'gateway' | 'reference'
  readonly target: Target
  readonly run: (settings: LoadSettings) => Promise<Round>
}

async function startMeasured (supervisor: Supervisor, options: BenchOptions, profileDir: string | undefined): Promise<Gateway> {
  const { store, dataDir: parentDir } = options
  return store === 'spool'
    ? startSpoolGateway(supervisor, { name: 'spool store', parentDir, profileDir })
    : startGateway(supervisor, { name: 'gateway', parentDir, profileDir })
}

async function startReference (
  supervisor: Supervisor, workload: Workload, options: BenchOptions, profileDir: string | undefined, gateway: Gateway | null
): Promise<Side | null> {
  const { reference } = workload
  const role = 'reference'
  if (reference === 'postgres') {
    if (gateway === null) return null
    // Its own stop belongs to the gateway: the same server, reached past it.
    const target = { ...gateway, name: REFERENCE_NAMES.postgres, stop: async () => {} }
    const args = [gateway.databaseUrl, ...POSTGRES_LOAD]
    return { role, target, run: (settings) => runRound(supervisor, target, settings, 'postgres-load', args) }
  }
  if (reference === 'database') {
    const name = REFERENCE_NAMES.database
    const target = await startGateway(supervisor, { name, parentDir: options.dataDir, profileDir })
    return { role, target, run: (settings) => runGatewayRound(supervisor, target, settings) }
  }
  const target = await startBare(supervisor, reference)
  return { role, target, run: (settings) => runRound(supervisor, target, settings) }
}

async function startSides (
  supervisor: Supervisor, workload: Workload, options: BenchOptions, profileDir: string | undefined
): Promise<Side[]> {
  const gateway = options.referenceOnly ? null : await startMeasured(supervisor, options, profileDir)
  const measured: Side | null = gateway === null
    ? null
    : { role: 'gateway', target: gateway, run: (settings) => runGatewayRound(supervisor, gateway, settings) }
  const reference = await startReference(supervisor, workload, options, profileDir, gateway)
  return [measured, reference].filter((side) => side !== null)
}

/** Runs one workload: gateway and reference in turn, each first in every other round, on servers of their own. */
async function runWorkload (
  supervisor: Supervisor, workload: Workload, options: BenchOptions, profileDir: string | undefined
): Promise<Outcome> {
  // Memory that a server once had stays with it, so each idle round needs new servers.
  const roundsEach = workload.traffic === 'idle' ? 1 : options.rounds
  const rounds: Record<Side['role'], Round[]> = { gateway: [], reference: [] }
  for (let first = 0; first < options.rounds; first += roundsEach) {
    const sides = await startSides(supervisor, workload, options, profileDir)
    const targets = sides.map(({ target }) => target)
    for (let round = first; round < first + roundsEach; round++) {
      for (const { role, target, run } of round % 2 === 0 ? sides : sides.toReversed()) {
        await untilQuiet(targets)
        const result = await run(toSettings(workload, options, target, round, role))
        rounds[role].push(result)
        sayRound(workload, round, result)
      }
    }
    for (const target of targets.toReversed()) await target.stop()
  }
  const stored = rounds.gateway.reduce((sum, { report }) => sum + (report?.readingsSent ?? 0), 0)
  return {
    workload,
    ...rounds,
    referenceName: REFERENCE_NAMES[workload.reference],
    stored: options.referenceOnly || workload.traffic === 'idle' ? null : stored
  }
}

function sayRound (workload: Workload, round: number, result: Round): void {
  const metrics = Object.entries(result.metrics)
    .map(([name, value]) => `${name} ${value.toFixed(name.startsWith('p') ? 2 : 0)}`)
  say(`${workload.name}  round ${round + 1}  ${result.target}  ${metrics.join('  ')}`)
}

/** Why a workload cannot run here, or `null`. */
function findObstacle (workload: Workload, options: BenchOptions): string | null {
  const limit = readDescriptorLimit()
  if (workload.connections + SPARE_DESCRIPTORS > limit) {
    return `needs ${workload.connections + SPARE_DESCRIPTORS} open files and the hard limit is ${limit}: ` +
      'raise it (ulimit -n 65536 as root, LimitNOFILE= in a systemd unit, --ulimit nofile=65536 in Docker)' +
      ' and start the bench from there'
  }
  if (workload.reference === 'postgres' && options.referenceOnly) return 'needs the gateway\'s PostgreSQL'
  if (workload.traffic === 'idle' && !hasProc) return 'needs /proc to read resident memory'
  return null
}

/** Version and durability of the PostgreSQL that the gateway embeds. */
async function describePostgres (supervisor: Supervisor, options: BenchOptions): Promise<string> {
  const gateway = await startGateway(supervisor, { name: 'gateway', parentDir: options.dataDir, profileDir: undefined })
  const { rows } = await gateway.database.query<{ name: string, setting: string, unit: string | null }>(
    `select name, setting, unit from pg_settings where name in ('server_version', 'fsync', 'full_page_writes',
     'synchronous_commit', 'wal_sync_method', 'shared_buffers', 'max_wal_size', 'wal_compression') order by name`)
  await gateway.stop()
  return rows.map(({ name, setting, unit }) => `${name} ${setting}${unit === null ? '' : ` x ${unit}`}`).join(', ')
}

async function run (supervisor: Supervisor, options: BenchOptions): Promise<void> {
  compile(options.build && !options.referenceOnly)
  const probeDir = supervisor.createDir(options.dataDir)
  const machine = describeMachine(probeDir)
  supervisor.removeDir(probeDir)
  const postgres = options.referenceOnly ? null : await describePostgres(supervisor, options)
  console.log(formatHead(machine, postgres, options))
  if (!hasProc) console.log('CPU and memory are left out: this system has no /proc')

  const profileDir = options.cpuProf ? join(root, 'bench-results', `profiles-${Date.now()}`) : undefined
  if (profileDir !== undefined) mkdirSync(profileDir, { recursive: true })
  const outcomes: Outcome[] = []
  const skipped: string[] = []
  for (const workload of options.workloads) {
    const obstacle = findObstacle(workload, options)
    if (obstacle === null) outcomes.push(await runWorkload(supervisor, workload, options, profileDir))
    else skipped.push(`${workload.name} was skipped: it ${obstacle}`)
  }
  console.log(`\n${outcomes.length > 0 ? formatOutcomes(outcomes, options.store) : 'nothing was measured'}`)
  for (const line of skipped) console.log(line)
  if (profileDir !== undefined) console.log(`CPU profiles of the gateway, one a start: ${profileDir}`)
  if (options.jsonFile !== undefined) {
    const summary = summarize(outcomes)
    writeFileSync(options.jsonFile, JSON.stringify({ machine, postgres, options, summary, outcomes, skipped }, null, 2) + '\n')
  }
}

async function main (): Promise<void> {
  const options = parseOptions(process.argv.slice(2))
  if (options === null) {
    console.log(USAGE)
    return
  }
  const supervisor = new Supervisor()
  try {
    await run(supervisor, options)
  } catch (error) {
    // After Ctrl-C everything ends at once; what then fails is no news, and the signal's handler exits.
    if (supervisor.stopping) return
    process.exitCode = 1
    say(error instanceof Error ? error.message : String(error))
  }
  await supervisor.stopAll()
  // A failure can leave a connection open that would keep this process alive.
  if (process.exitCode === 1) process.exit()
}

main().catch((error: unknown) => {
  say(error instanceof Error ? error.message : String(error))
  process.exit(1)
})
