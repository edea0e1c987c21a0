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
import { type Gateway, startBare, startGateway, type Target } from './targets.ts'
import type { Workload } from './workloads.ts'

/** What a process needs beside the sockets under test: libraries, pipes, PostgreSQL. */
const SPARE_DESCRIPTORS = 100

/** Time for readings that went to the spool to arrive in PostgreSQL. */
const STORED_TIMEOUT_MS = 30_000

/** Connections and rows a batch, as the gateway has them by default. */
const POSTGRES_LOAD = ['2', '2000'] as const

const REFERENCE_NAMES = { broker: 'bare broker', http: 'bare Fastify', postgres: 'PostgreSQL' } as const

const say = (line: string) => console.error(line)

function toSettings (workload: Workload, options: BenchOptions, target: Target, round: number): LoadSettings {
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
    devicePrefix: `bench-${workload.name.replace('@', '-')}-${round}`
  }
}

/**
 * One round against the gateway, and the proof that what it acknowledged is stored: a rate of lost readings is worthless.
 * @returns the round, and the readings found
 */
async function runGatewayRound (supervisor: Supervisor, gateway: Gateway, settings: LoadSettings): Promise<[Round, number]> {
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
    throw new Error(`${settings.devicePrefix}: ${sent} readings were acknowledged and ${found} are in the table readings; ` +
      `duplicates ${after.duplicates}, dead letters ${after.deadLettered}, refused ${after.refused} (all must be 0)`)
  }
  return [round, found]
}

async function startReference (supervisor: Supervisor, workload: Workload, gateway: Gateway | null): Promise<Target | null> {
  if (workload.reference !== 'postgres') return startBare(supervisor, workload.reference)
  // Its own stop belongs to the gateway: the same server, reached past it.
  return gateway === null ? null : { ...gateway, name: REFERENCE_NAMES.postgres, stop: async () => {} }
}

async function runReferenceRound (
  supervisor: Supervisor, workload: Workload, target: Target, settings: LoadSettings, gateway: Gateway | null
): Promise<Round> {
  const named = { ...settings, devicePrefix: `${settings.devicePrefix}-reference` }
  if (workload.reference !== 'postgres' || gateway === null) return runRound(supervisor, target, named)
  return runRound(supervisor, target, named, 'postgres-load', [gateway.databaseUrl, ...POSTGRES_LOAD])
}

/** Runs one workload: gateway and reference in turn, each first in every other round, on servers of their own. */
async function runWorkload (
  supervisor: Supervisor, workload: Workload, options: BenchOptions, profileDir: string | undefined
): Promise<Outcome> {
  // Memory that a server once had stays with it, so each idle round needs new servers.
  const roundsEach = workload.traffic === 'idle' ? 1 : options.rounds
  const rounds: { gateway: Round[], reference: Round[] } = { gateway: [], reference: [] }
  let stored = 0
  for (let first = 0; first < options.rounds; first += roundsEach) {
    const gateway = options.referenceOnly ? null : await startGateway(supervisor, { parentDir: options.dataDir, profileDir })
    const reference = await startReference(supervisor, workload, gateway)
    const targets = [gateway, reference].filter((target) => target !== null)
    for (let round = first; round < first + roundsEach; round++) {
      for (const target of round % 2 === 0 ? targets : targets.toReversed()) {
        await untilQuiet(targets)
        const settings = toSettings(workload, options, target, round)
        if (target === gateway) {
          const [result, found] = await runGatewayRound(supervisor, gateway, settings)
          rounds.gateway.push(result)
          stored += found
        } else {
          rounds.reference.push(await runReferenceRound(supervisor, workload, target, settings, gateway))
        }
        sayRound(workload, round, rounds[target === gateway ? 'gateway' : 'reference'].at(-1))
      }
    }
    for (const target of targets.toReversed()) await target.stop()
  }
  return {
    workload,
    ...rounds,
    referenceName: REFERENCE_NAMES[workload.reference],
    stored: options.referenceOnly || workload.traffic === 'idle' ? null : stored
  }
}

function sayRound (workload: Workload, round: number, result: Round | undefined): void {
  const metrics = Object.entries(result?.metrics ?? {})
    .map(([name, value]) => `${name} ${value.toFixed(name.startsWith('p') ? 2 : 0)}`)
  say(`${workload.name}  round ${round + 1}  ${result?.target}  ${metrics.join('  ')}`)
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
  const gateway = await startGateway(supervisor, { parentDir: options.dataDir, profileDir: undefined })
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
  console.log(`\n${outcomes.length > 0 ? formatOutcomes(outcomes) : 'nothing was measured'}`)
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
