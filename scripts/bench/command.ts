import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import type { CommandSurroundings } from '../command-line/surroundings.ts'
import { buildBefore, formatAgainst, isWorse, runAgainst } from './against.ts'
import { formatAttacks, runAttacks } from './attacks/attacks.ts'
import { toChart } from './report/chart.ts'
import { compile, root } from '../harness/compile.ts'
import { describeMachine } from '../harness/machine.ts'
import { formatGateways, runGateways } from './gateways.ts'
import { runKafka } from './kafka.ts'
import { formatLatestCache, runLatestCache } from './latest-cache.ts'
import type { LoadSettings } from './load/messages.ts'
import { findMosquitto, MOSQUITTO_HINT } from './sides/mosquitto.ts'
import { type BenchOptions, createBenchCommand } from './options.ts'
import { FLEET } from '../harness/preload.ts'
import { hasProc, readDescriptorLimit } from '../harness/process-stat.ts'
import { formatRedisAlone, runRedisAlone } from './redis-alone.ts'
import { formatKafka } from './report/kafka.ts'
import { formatHead, formatOutcomes, type Outcome, summarize } from './report/report.ts'
import { type Round, untilQuiet } from './round.ts'
import { formatRollups, runRollups } from './rollups.ts'
import { formatScale, runScale } from './scale.ts'
import { REFERENCE_NAMES, type Side, startSides } from './sides/sides.ts'
import { Supervisor } from './sides/supervisor.ts'
import { startGateway, type Target } from './sides/targets.ts'
import { toPort, type Workload } from './workloads.ts'

/** Descriptors that a process needs beside the sockets under test: libraries, pipes, PostgreSQL. */
const SPARE_DESCRIPTORS = 100

const say = (line: string) => console.error(line)

function toSettings (
  workload: Workload, options: BenchOptions, target: Target, round: number, role: Side['role']
): LoadSettings {
  const { traffic, protocol, qos, connections, inFlight, readingsPerAnswer, ratePerS, devices } = workload
  return {
    traffic,
    protocol,
    qos,
    port: toPort(target.ports, protocol),
    connections,
    inFlight,
    readingsPerAnswer,
    ratePerS,
    warmupMs: options.warmupMs,
    measureMs: options.measureMs,
    devicePrefix: devices > 0 ? FLEET : `bench-${workload.name.replace('@', '-')}-${round}${role === 'gateway' ? '' : `-${role}`}`,
    devices,
    secrets: null
  }
}

/** Runs one workload: all sides in turn, in the other order every other round, on servers of their own. */
async function runWorkload (
  supervisor: Supervisor, workload: Workload, options: BenchOptions, profileDir: string | undefined
): Promise<Outcome> {
  // Memory that a server once had stays with it, so each idle round needs new servers.
  const roundsEach = workload.traffic === 'idle' ? 1 : options.rounds
  const rounds: Record<Side['role'], Round[]> = { gateway: [], reference: [], mosquitto: [] }
  for (let first = 0; first < options.rounds; first += roundsEach) {
    const sides = await startSides({ supervisor, workload, options, profileDir, say })
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
    .map(([name, value]) => `${name} ${value.toFixed(/^p\d/.test(name) ? 2 : 0)}`)
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
  const isGateways = workload.reference === 'postgres' || workload.reference === 'mqtt'
  if (isGateways && options.referenceOnly) return 'needs the gateway'
  if (workload.reference === 'none' && options.referenceOnly) return 'has no reference'
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

function write (file: string | undefined, text: () => string): void {
  if (file !== undefined) writeFileSync(file, text())
}

interface Special {
  readonly text: string
  readonly measured: object
  readonly isWorse: boolean
}

/** Runs the measurement that an option asks for instead of the workloads; `null`: no option does. */
async function measureSpecial (
  { supervisor, options, profileDir }: { supervisor: Supervisor, options: BenchOptions, profileDir: string | undefined }
): Promise<Special | null> {
  const run = { supervisor, options, profileDir, say }
  const told = (text: string, measured: object): Special => ({ text, measured, isWorse: false })
  if (options.scale !== null) {
    const sizes = await runScale({ ...run, scale: options.scale })
    return told(formatScale(sizes), { sizes })
  }
  if (options.rollups) {
    const rounds = await runRollups(run)
    return told(formatRollups(rounds), { rounds })
  }
  if (options.latestCache) {
    const outcomes = await runLatestCache(run)
    return told(formatLatestCache(outcomes), { outcomes })
  }
  if (options.redisAlone) {
    const outcomes = await runRedisAlone(run)
    return told(formatRedisAlone(outcomes), { outcomes })
  }
  if (options.gateways) {
    const outcomes = await runGateways(run)
    return told(formatGateways(outcomes), { outcomes })
  }
  if (options.kafka !== null) {
    const outcome = await runKafka({ ...run, programs: options.kafka })
    return told(formatKafka(outcome), { outcome })
  }
  if (options.against !== null) {
    buildBefore(options.against)
    const compared = await runAgainst({ ...run, before: options.against })
    return { ...told(formatAgainst(compared), { compared }), isWorse: compared.some((comparison) => isWorse(comparison) === true) }
  }
  if (options.attacks !== null) {
    const attacked = await runAttacks({ ...run, names: options.attacks })
    return told(formatAttacks(attacked), { attacked })
  }
  return null
}

/** @returns the exit status */
async function run (supervisor: Supervisor, options: BenchOptions): Promise<number> {
  compile(options.build && !options.referenceOnly)
  const probeDir = supervisor.createDir(options.dataDir)
  const machine = describeMachine(probeDir)
  supervisor.removeDir(probeDir)
  const postgres = options.referenceOnly ? null : await describePostgres(supervisor, options)
  console.log(`command    npm run bench -- ${process.argv.slice(3).join(' ')}`)
  console.log(formatHead(machine, postgres, options))
  const mosquitto = findMosquitto()
  if (mosquitto !== null) console.log(`mosquitto  ${mosquitto.version}, persistence off`)
  if (!hasProc) console.log('CPU and memory are left out: this system has no /proc')

  const profileDir = options.cpuProf ? join(root, 'bench-results', `profiles-${Date.now()}`) : undefined
  if (profileDir !== undefined) mkdirSync(profileDir, { recursive: true })
  const special = await measureSpecial({ supervisor, options, profileDir })
  if (special !== null) {
    console.log(`\n${special.text}`)
    write(options.jsonFile, () => JSON.stringify({ machine, postgres, options, ...special.measured }, null, 2) + '\n')
    return special.isWorse ? 1 : 0
  }
  const outcomes: Outcome[] = []
  const skipped: string[] = []
  for (const workload of options.workloads) {
    const obstacle = findObstacle(workload, options)
    if (obstacle === null) outcomes.push(await runWorkload(supervisor, workload, options, profileDir))
    else skipped.push(`${workload.name} was skipped: it ${obstacle}`)
  }
  const hasBroker = options.workloads.some(({ reference }) => reference === 'broker')
  if (hasBroker && mosquitto === null) skipped.push(MOSQUITTO_HINT)
  console.log(`\n${outcomes.length > 0 ? formatOutcomes(outcomes, options.store) : 'nothing was measured'}`)
  for (const line of skipped) console.log(line)
  if (profileDir !== undefined) console.log(`CPU profiles of the gateway, one a start: ${profileDir}`)
  const summary = summarize(outcomes)
  write(options.jsonFile, () => JSON.stringify({
    machine,
    postgres,
    mosquitto: mosquitto?.version ??
    null,
    options,
    summary,
    outcomes,
    skipped
  }, null, 2) + '\n')
  write(options.chartFile, () => toChart(summary, machine, options))
  return 0
}

/** `vital-gateway bench`, in a clone only. */
export function createCommand ({ finish }: CommandSurroundings): Command {
  return createBenchCommand(async (options) => {
    const supervisor = new Supervisor()
    try {
      finish(await run(supervisor, options))
    } catch (error) {
      // After Ctrl-C everything ends at once; faults that follow from it are not printed, and the signal handler exits.
      if (supervisor.stopping) return
      say(error instanceof Error ? error.message : String(error))
      await supervisor.stopAll()
      // A failure can leave a connection open that would keep this process alive.
      process.exit(1)
    }
    await supervisor.stopAll()
  })
}
