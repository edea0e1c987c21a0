import { setTimeout as sleep } from 'node:timers/promises'
import { checkMetrics, type Rows, type Scrape, scrape } from '../../harness/checks/metrics.ts'
import type { Violation } from '../../harness/checks/stored.ts'
import { countNew, countRows } from '../../harness/checks/tables.ts'
import type { Belongings } from '../../harness/belongings.ts'
import { DEFAULT_LOAD, type Load } from '../../harness/devices/messages.ts'
import { PublisherProcess } from '../../harness/devices/publisher-process.ts'
import { Random } from '../../harness/random.ts'
import { until } from '../../harness/until.ts'
import { createWard, type Ward } from '../devices/ward.ts'
import type { Outcome } from '../outcome.ts'
import type { Program } from '../rig/build.ts'
import type { Break } from '../rig/injection.ts'
import { ARRIVE_TIMEOUT_MS, createAccounts } from './accounts.ts'
import { createStage, type KafkaOptions, type Stage } from './stage.ts'
import { drawStrike, type Strike } from './strike.ts'

export interface ClusterRunOptions {
  readonly belongings: Belongings
  readonly program: Program
  readonly dir: string
  readonly seed: number
  /** Strikes. */
  readonly cycles: number
  readonly strikes: readonly Strike[]
  /** `null`: gateways write to PostgreSQL. */
  readonly kafka: KafkaOptions | null
  readonly load: Partial<Load>
  readonly breaks: Break | undefined
  readonly onCycle: (done: number) => void
  readonly onRemark: (remark: string) => void
}

/** Strikes between two checks. */
const STRIKES_PER_ACCOUNT = 10
const LOAD: Load = { ...DEFAULT_LOAD, devices: 40, httpDevices: 4, ratePerS: 400, waveformShare: 0 }
const SUBSCRIBERS = 12
/** Three publishers with two topics each. */
const TOPICS = Array.from({ length: 3 }, (_, index) => [`ward/0/bed-${index}`, `ward/1/bed-${index}`])
/** Subscribers and their publishers, HAProxy's health checks, Redis. */
const OTHER_CONNECTIONS = 40
const CALM_MS = 3000

/** Hurts a cluster again and again, one process at a time, and keeps the books of devices and of persistent sessions. */
export async function runCluster (options: ClusterRunOptions): Promise<Outcome> {
  const random = new Random(options.seed)
  const between = (min: number, max: number) => random.between(min, max)
  const publisher = new PublisherProcess(options.belongings, options.program.publisher)
  const load = { ...LOAD, ...options.load }
  const accounts = createAccounts({ ...options, publisher, load })
  const { violations, sums, figures, violate } = accounts
  const stage = await createStage({
    ...options,
    random,
    connections: load.devices + load.httpDevices + OTHER_CONNECTIONS,
    onViolation: (violation) => violations.push(violation),
    onRecovered: (ms) => { sums.recoveryMs = Math.max(sums.recoveryMs, ms) }
  })
  const processes = () => [...stage.gateways, ...stage.sinks]
  const outage = { isUnderWay: false }
  const ward = createWard({
    port: () => stage.mqttPort,
    subscribers: SUBSCRIBERS,
    topics: TOPICS,
    publishIntervalMs: 100,
    isClustered: true,
    mayLoseSessions: () => outage.isUnderWay,
    random: between,
    onViolation: (message) => { violate('expected', message) }
  })
  let cyclesDone = 0
  try {
    const fault = await stage.untilWhole()
    if (fault !== null) throw new Error(fault)
    ward.connect()
    if (await until(() => ward.isSubscribed, ARRIVE_TIMEOUT_MS) === null) throw new Error('not all subscribers were accepted')
    while (cyclesDone < options.cycles) {
      await accounts.keep(stage, ward, async () => {
        const last = Math.min(options.cycles, cyclesDone + STRIKES_PER_ACCOUNT)
        while (cyclesDone < last) {
          await strike({ ...options, stage, ward, accounts, outage, between })
          options.onCycle(++cyclesDone)
        }
      })
    }
    await accountForRows(stage, accounts, ward)
    await stage.stop()
  } catch (error) {
    violate('C6', `the run broke off: ${error instanceof Error ? error.stack ?? error.message : String(error)}`)
  } finally {
    ward.end()
    publisher.kill()
    for (const { watch } of processes()) watch.stop()
  }
  Object.assign(figures, {
    sessionMessages: ward.published,
    sessionsLostWithoutRedis: ward.lost,
    repeatedAtQoS1: ward.repeated,
    sessionViolations: ward.violations
  })
  return {
    fault: options.kafka === null ? 'cluster' : 'cluster-kafka',
    cycles: cyclesDone,
    ...sums,
    peakRssBytes: Math.max(...processes().map(({ watch }) => watch.peakRssBytes)),
    figures: { ...figures, lives: processes().map(({ lives }) => lives).join(' + ') },
    verdicts: [],
    violations
  }
}

/** A time without strikes, in which those that write to PostgreSQL tell what has become of its rows. */
async function accountForRows (stage: Stage, accounts: ReturnType<typeof createAccounts>, ward: Ward): Promise<void> {
  const writers = stage.sinks.length > 0 ? stage.sinks : stage.gateways
  const scrapes = () => Promise.all(writers.map(({ options: { httpPort } }) => scrape(httpPort)))
  const [seenBefore, rowsBefore] = [await scrapes(), await countRows(stage.query)]
  await accounts.keep(stage, ward, () => sleep(CALM_MS))
  accounts.violations.push(...checkTogether(seenBefore, await scrapes(), await countNew(stage.query, rowsBefore)))
}

interface StrikeOptions extends Pick<ClusterRunOptions, 'strikes' | 'onRemark'> {
  readonly stage: Stage
  readonly ward: Ward
  readonly accounts: ReturnType<typeof createAccounts>
  /** Of Redis. */
  readonly outage: { isUnderWay: boolean }
  readonly between: (min: number, max: number) => number
}

/** One strike, until all parts serve again; then some subscribers are cut off, and come back. */
async function strike ({ strikes, stage, ward, accounts, outage, between, onRemark }: StrikeOptions): Promise<void> {
  const { violations, violate, count } = accounts
  const { name, run } = drawStrike(between(0, 1), strikes)
  const before = violations.length
  count(name, 1)
  await sleep(between(100, 1500))
  onRemark(`${name} at ${new Date().toISOString().slice(11, 23)}`)
  outage.isUnderWay = name.endsWith('-redis')
  await run(stage)
  const fault = await stage.untilWhole()
  outage.isUnderWay = false
  if (fault !== null) violate('C6', `after ${name}: ${fault}`)
  // Redis is there, so a session that goes to another gateway is found.
  for (let cuts = 0; cuts < 3; cuts++) {
    ward.cut()
    await sleep(between(50, 300))
  }
  for (const { checker, message } of violations.slice(before)) onRemark(`after ${name}: ${checker} ${message}`)
}

/** C7 over all gateways: what they counted in a time without strikes against the rows that came in it. */
function checkTogether (before: readonly Scrape[], after: readonly Scrape[], added: Rows): Violation[] {
  const sum = (scrapes: readonly Scrape[], name: keyof Scrape) => scrapes.reduce((all, one) => all + Number(one[name]), 0)
  const since = (name: keyof Scrape) => sum(after, name) - sum(before, name)
  return checkMetrics({
    ...after[0]!,
    received: since('received'),
    found: since('found'),
    stored: since('stored'),
    duplicate: since('duplicate'),
    deadLettered: since('deadLettered'),
    balance: sum(after, 'balance')
  }, added)
}
