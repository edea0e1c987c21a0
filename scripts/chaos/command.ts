import { spawnSync } from 'node:child_process'
import { appendFileSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import { Presets, SingleBar } from 'cli-progress'
import type { Command } from 'commander'
import { pino } from 'pino'
import type { CommandSurroundings } from '../command-line/surroundings.ts'
import { root } from '../harness/compile.ts'
import { describeMachine } from '../harness/machine.ts'
import { Random } from '../harness/random.ts'
import { Belongings } from '../harness/belongings.ts'
import { prepareProgram, type Program } from './rig/build.ts'
import { FAULTS } from './catalogue.ts'
import { findObstacle } from './cluster/engine.ts'
import { runCluster } from './cluster/run-cluster.ts'
import type { Strike } from './cluster/strike.ts'
import { KAFKA_STRIKES } from './cluster/kafka-strikes.ts'
import { REPLICA_STRIKES } from './cluster/replica-strikes.ts'
import { STRIKES } from './cluster/strikes.ts'
import { DEFAULT_LOAD } from '../harness/devices/messages.ts'
import { type Fault, READERS } from './fault.ts'
import { type ChaosOptions, createChaosCommand } from './options.ts'
import { findKafkaObstacle } from '../harness/kafka-cluster.ts'
import { createQuery, OwnPostgres } from '../harness/own-postgres.ts'
import type { Outcome } from './outcome.ts'
import { PublisherProcess } from '../harness/devices/publisher-process.ts'
import { formatOutcomes } from './report.ts'
import { Rig } from './rig/rig.ts'
import { findParts, type StreamsOptions } from './streams/engines.ts'
import { STREAM_STRIKES } from './streams/stream-strikes.ts'

/** Progress and remarks; stdout is for the report. */
function say (line: string): void {
  process.stderr.write(`${line}\n`)
}

/** A bar on a terminal, elsewhere a line now and then. */
function createProgress (fault: Pick<Fault, 'name'>, cycles: number) {
  if (!process.stderr.isTTY) {
    let toldAtMs = 0
    return {
      update (done: number): void {
        if (done < cycles && performance.now() - toldAtMs < 10_000) return
        toldAtMs = performance.now()
        say(`${fault.name}  ${done}/${cycles}`)
      },
      remark: (remark: string) => say(`${fault.name}  ${remark}`),
      stop (): void {}
    }
  }
  const bar = new SingleBar({ format: '{fault} [{bar}] {value}/{total} {eta_formatted} {remark}', clearOnComplete: false }, Presets.legacy)
  bar.start(cycles, 0, { fault: fault.name, remark: '' })
  return { update: (done: number) => bar.update(done), remark: (remark: string) => bar.update({ remark }), stop: () => bar.stop() }
}

/** A changed record of runs does not count as a changed program. */
function readCommit (): { commit?: string } {
  const git = (...args: string[]) => spawnSync('git', args, { cwd: root, encoding: 'utf8' })
  const changes = git('status', '--porcelain', '--untracked-files=no', '--', '.', ':!scripts/chaos/results.jsonl')
  return changes.status === 0 && changes.stdout === '' ? { commit: git('rev-parse', '--short', 'HEAD').stdout.trim() } : {}
}

const silent = pino({ level: 'silent' })

/** What a run shares between its faults. */
interface Shared {
  readonly belongings: Belongings
  readonly program: Program
  readonly options: ChaosOptions
  readonly ownPostgres: () => Promise<OwnPostgres>
}

async function runFault (shared: Shared, fault: Fault): Promise<Outcome> {
  const { belongings, program, options } = shared
  // A lasting fault runs once, for --seconds.
  const extent = options.isAll ? 'inAll' : 'alone'
  const cycles = fault.cycles === undefined ? 1 : options.cycles ?? fault.cycles[extent]
  // Each fault has its own seed, so that it draws the same numbers alone as within `all`.
  const seed = (options.seed ^ crc32(fault.name)) >>> 0
  const dir = belongings.createDir()
  const progress = createProgress(fault, cycles)
  const publisher = new PublisherProcess(belongings, program.publisher)
  const ownPostgres = fault.clusterBytesMax === undefined
    ? fault.database === 'own' ? await shared.ownPostgres() : null
    : await OwnPostgres.create(belongings.createTmpfs(fault.clusterBytesMax), silent)
  const databaseUrl = ownPostgres === null ? null : await createDatabase(ownPostgres, fault)
  const rig = new Rig({
    belongings,
    program,
    publisher,
    ownPostgres,
    dir,
    faultName: fault.name,
    cycles,
    seed,
    load: {
      ...DEFAULT_LOAD,
      ...fault.load,
      ...(options.ratePerS === undefined ? {} : { ratePerS: options.ratePerS }),
      ...(options.mqttVersion === undefined ? {} : { protocolVersion: options.mqttVersion === '5' ? 5 : 4 })
    },
    random: new Random(seed),
    seconds: options.seconds ?? fault.seconds?.[extent] ?? 0,
    rows: options.rows,
    breaks: options.breaks,
    readers: options.readers ?? fault.readers ?? READERS,
    onCycle: (done) => progress.update(done),
    onRemark: (remark) => progress.remark(remark)
  }, databaseUrl)
  try {
    await fault.run(rig)
    if (fault.cycles === undefined) rig.cycleDone()
    await rig.stopGateway()
  } catch (error) {
    rig.violate('C6', `the run broke off: ${error instanceof Error ? error.stack ?? error.message : String(error)}`)
  } finally {
    rig.watch.stop()
    progress.stop()
    publisher.kill()
    await rig.endProcesses()
    if (ownPostgres !== null && databaseUrl !== null) await dropDatabase(ownPostgres, databaseUrl)
    if (fault.clusterBytesMax !== undefined) await ownPostgres?.stop('SIGQUIT')
    belongings.removeDir(dir)
  }
  return rig.outcome()
}

const CLUSTER_CYCLES = 20

/** Strikes that can be done here. @param skipped - takes a line for each other one */
function chooseStrikes ({ strikes, kafka }: ChaosOptions, streams: StreamsOptions | null, skipped: string[]): Strike[] {
  return strikes.filter(({ name, obstacle }) => {
    const why = kafka === null ? null : obstacle?.({ ...kafka, streams }) ?? null
    if (why !== null) skipped.push(`the strike ${name} was left out: ${why}`)
    return why === null
  })
}

interface ClusterParts {
  readonly dir: string
  readonly strikes: readonly Strike[]
  readonly streams: StreamsOptions | null
}

async function runOnCluster ({ belongings, program, options }: Shared, { dir, strikes, streams }: ClusterParts): Promise<Outcome> {
  const cycles = options.cycles ?? CLUSTER_CYCLES
  const progress = createProgress({ name: 'cluster' }, cycles)
  try {
    return await runCluster({
      belongings,
      program,
      dir,
      seed: options.seed,
      cycles,
      strikes,
      kafka: options.kafka,
      streams,
      readings: options.readings,
      seconds: options.seconds,
      load: {
        ...(options.ratePerS === undefined ? {} : { ratePerS: options.ratePerS }),
        ...(options.mqttVersion === undefined ? {} : { protocolVersion: options.mqttVersion === '5' ? 5 : 4 })
      },
      breaks: options.breaks,
      onCycle: (done) => progress.update(done),
      onRemark: (remark) => progress.remark(remark)
    })
  } finally {
    progress.stop()
  }
}

async function createDatabase (postgres: OwnPostgres, fault: Fault): Promise<string> {
  await postgres.start()
  const name = `chaos_${fault.name.replaceAll('-', '_')}`
  const query = createQuery(postgres.url)
  await query(`drop database if exists ${name} with (force)`)
  await query(`create database ${name}`)
  return Object.assign(new URL(postgres.url), { pathname: `/${name}` }).href
}

async function dropDatabase (postgres: OwnPostgres, url: string): Promise<void> {
  await postgres.start()
  await createQuery(postgres.url)(`drop database if exists ${new URL(url).pathname.slice(1)} with (force)`)
}

/** @returns the exit status: 1 for a violation or a loss */
async function run (options: ChaosOptions): Promise<number> {
  const belongings = new Belongings()
  belongings.keepsDirs = options.isKeeping
  const dir = belongings.createDir()
  say(`seed ${options.seed}`)
  const machine = { ...describeMachine(dir), ...readCommit() }
  const program = prepareProgram({ dir, isBuilding: options.isBuilding, breaks: options.breaks })
  let ownPostgres: Promise<OwnPostgres> | null = null
  const useOwnPostgres = () => {
    ownPostgres ??= OwnPostgres.create(dir, silent)
    return ownPostgres
  }
  const shared: Shared = { belongings, program, options, ownPostgres: useOwnPostgres }
  const startedAt = new Date()
  const outcomes: Outcome[] = []
  const skipped: string[] = []
  if (options.isCluster) {
    const obstacle = findObstacle() ?? (options.kafka === null ? null : findKafkaObstacle(options.kafka))
    const streams = options.streams === null || obstacle !== null ? null : findParts(options.streams, skipped)
    const strikes = obstacle === null ? chooseStrikes(options, streams, skipped) : []
    if (obstacle !== null) skipped.push(`--cluster was skipped: ${obstacle}`)
    else if (strikes.length > 0) outcomes.push(await runOnCluster(shared, { dir, strikes, streams }))
  }
  for (const fault of options.faults) {
    const obstacle = fault.obstacle?.() ?? null
    if (obstacle !== null) {
      skipped.push(`${fault.name} was skipped: ${obstacle}`)
      continue
    }
    const outcome = await runFault(shared, fault)
    outcomes.push(outcome)
    say(formatOutcomes([outcome]))
  }
  console.log(`\nseed ${options.seed}, commit ${machine.commit}, ${machine.cores} cores, node ${machine.node}` +
    `${options.breaks === undefined ? '' : `, with the defect ${options.breaks} built in`}\n\n${formatOutcomes(outcomes)}`)
  for (const line of skipped) console.log(line)
  if (options.resultsFile !== null) appendResult(options.resultsFile, { startedAt, machine, options, outcomes, skipped })
  return outcomes.some(({ violations, lost }) => violations.length > 0 || lost > 0) ? 1 : 0
}

function appendResult (file: string, result: {
  startedAt: Date,
  machine: ReturnType<typeof describeMachine>,
  options: ChaosOptions,
  outcomes: readonly Outcome[],
  skipped: readonly string[]
}): void {
  const { startedAt, machine: { commit, ...machine }, options, outcomes, skipped } = result
  const { seed, cycles, readings, seconds, ratePerS, mqttVersion, readers, breaks } = options
  appendFileSync(file, `${JSON.stringify({
    date: startedAt.toISOString(),
    commit,
    seed,
    config: {
      faults: options.isCluster ? ['cluster'] : options.faults.map(({ name }) => name),
      ...(options.isCluster && { strikes: options.strikes.map(({ name }) => name) }),
      ...(options.kafka !== null && { brokers: options.kafka.brokers, ackAfter: options.kafka.ackAfter }),
      ...(options.streams !== null && { streams: true }),
      cycles,
      readings,
      seconds,
      ratePerS,
      mqttVersion,
      readers,
      breaks
    },
    durationS: Math.round((Date.now() - startedAt.getTime()) / 1000),
    outcomes,
    skipped,
    machine
  })}\n`)
}

/** `vital-gateway chaos`, in a clone only. */
export function createCommand ({ print }: CommandSurroundings): Command {
  return createChaosCommand(async (options) => {
    if (options === 'list') {
      print(FAULTS.map(({ name, summary }) => `${name.padEnd(24)}${summary}`).join('\n'))
      const toNames = (strikes: typeof STRIKES) => strikes.map(({ name }) => name).join(', ')
      print(`\n--cluster strikes: ${toNames(STRIKES)}; without --kafka: ${toNames(REPLICA_STRIKES)}; ` +
        `with --kafka: ${toNames(KAFKA_STRIKES)}; with --streams: ${toNames(STREAM_STRIKES)}`)
      return
    }
    const status = await run(options).catch((error: unknown) => {
      say(error instanceof Error ? error.message : String(error))
      return 2
    })
    // Connections of a run that broke off would keep this process alive. All that was started ends with it.
    process.exit(status)
  })
}
