import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { findFreePort } from '../../db/embedded/cluster.ts'
import type { Belongings } from '../harness/belongings.ts'
import { acknowledgedWithin, checkStored } from '../harness/checks/stored.ts'
import { GatewayProcess } from '../harness/gateway-process.ts'
import { type LedgerEntries, readLedger } from '../harness/checks/ledger-file.ts'
import { DEFAULT_LOAD, type Load, type PublisherFigures } from '../harness/devices/messages.ts'
import { scrape } from '../harness/checks/metrics.ts'
import { createQuery } from '../harness/own-postgres.ts'
import { PublisherProcess } from '../harness/devices/publisher-process.ts'
import { until } from '../harness/until.ts'
import { readV8Flags } from '../harness/v8-flags.ts'
import { AttackerProcess } from './sessions/attacker-process.ts'
import { checkGoodClient, checkGrowth, checkLog, type Violation } from './checks/checks.ts'
import { type Checkpoint, readPacketsRead, readState } from './checks/gateway-state.ts'
import type { AttackFigures } from './messages.ts'
import type { Program } from './program.ts'
import { ReaderProcess } from './checks/reader-process.ts'
import { READERS } from './checks/readers.ts'
import type { Target } from './sessions/session.ts'
import { Pulse } from './checks/pulse.ts'

const READY_TIMEOUT_MS = 60_000
const DRAIN_TIMEOUT_MS = 30_000
/** Longer than the gateway waits for a CONNECT that does not come. */
const REST_TIMEOUT_MS = 25_000
const CONNECTIONS = 96
/** A full collection takes some tens of milliseconds. */
const GARBAGE_MS = 300
/** Shortest round, so that a short run on a slow machine has two rests to compare. */
const ROUND_MIN_MS = 500
const RSS_BYTES_MAX = 768 * 2 ** 20
const GOOD_PREFIX = 'good'

/** Well-behaved devices beside the attack: enough to meet every stall, too few to be the load. */
const GOOD_LOAD: Load = {
  ...DEFAULT_LOAD, devices: 6, httpDevices: 2, ratePerS: 200, window: 100, invalidShare: 0, qos2Every: 6
}

export interface FuzzRunOptions {
  readonly belongings: Belongings
  readonly dir: string
  readonly program: Program
  readonly seed: number
  readonly targets: readonly Target[]
  /** Packets to write. The run ends after `timeMs` in any case. */
  readonly packets: number
  readonly timeMs: number
  /** The first session. */
  readonly from: number
  /** Attacks with a rest between, in which memory and descriptors are checked. */
  readonly rounds: number
  /** `null`: the gateway's embedded one. */
  readonly databaseUrl: string | null
  readonly onProgress: (packets: number) => void
}

/** The result of one run, as an object of plain values. */
export interface FuzzOutcome {
  readonly attack: AttackFigures
  /** MQTT packets that the gateway read; those behind a broken packet are sent and never read. */
  readonly packetsRead: number
  readonly attackS: number
  readonly good: { readonly acknowledged: number, readonly p99Ms: number, readonly slowestMs: number, readonly machinePauseMs: number }
  readonly ledger: Readonly<Record<string, number>>
  readonly checkpoints: readonly Checkpoint[]
  readonly peakRssBytes: number
  readonly peakDescriptors: number
  readonly violations: readonly Violation[]
}

/** Starts a gateway, good clients and an attacker, and ends them. @throws when one of them cannot be started */
export async function runFuzz (options: FuzzRunOptions): Promise<FuzzOutcome> {
  const run = await FuzzRun.start(options)
  try {
    await run.attack()
    await run.settle()
    return await run.judge()
  } finally {
    run.end()
  }
}

interface Parts {
  readonly gateway: GatewayProcess
  readonly publisher: PublisherProcess
  readonly attacker: AttackerProcess
  readonly readers: ReaderProcess
  readonly httpPort: number
  readonly databaseUrl: string
  readonly ledgerPath: string
}

async function startParts ({ belongings, dir, program, seed, targets, databaseUrl }: FuzzRunOptions): Promise<Parts> {
  const dataDir = join(dir, 'data')
  await mkdir(dataDir, { mode: 0o700 })
  const [mqttPort, httpPort] = [await findFreePort(), await findFreePort()]
  const gateway = new GatewayProcess({
    belongings,
    args: [...readV8Flags(), '--expose-gc', `--import=${program.preload}`, program.gateway],
    cwd: dir,
    env: {
      VITAL_DATA_DIR: dataDir,
      VITAL_MQTT_PORT: String(mqttPort),
      VITAL_HTTP_PORT: String(httpPort),
      VITAL_MQTT_TOPIC_ALIAS_MAX: '10',
      // So that bad input meets the caps soon, and PostgreSQL is spared.
      VITAL_DEAD_LETTERS_MAX: '20000',
      VITAL_DEAD_LETTERS_PER_DEVICE_MAX: '200',
      // The attack must not be slowed down; these limits have tests of their own.
      VITAL_CONNECTS_PER_SECOND_MAX: '0',
      VITAL_HTTP_REQUESTS_PER_SECOND_MAX: '0',
      VITAL_DEVICE_MESSAGES_PER_SECOND_MAX: '0',
      VITAL_DEVICE_BYTES_PER_SECOND_MAX: '0',
      ...(databaseUrl === null ? {} : { DATABASE_URL: databaseUrl })
    },
    logPath: join(dir, 'gateway.log')
  })
  await gateway.waitReady(READY_TIMEOUT_MS)
  const publisher = new PublisherProcess(belongings, program.publisher)
  const ledgerPath = join(dir, 'ledger.txt')
  await publisher.run({ ...GOOD_LOAD, mqttPort, httpPort, ledgerPath, prefix: GOOD_PREFIX, seed, numbering: { first: 0, step: 1 } })
  const readers = new ReaderProcess({ belongings, program: program.reader, mqttPort })
  const [fault] = await readers.start()
  if (fault !== undefined) throw new Error(fault)
  const attacker = new AttackerProcess({
    belongings, program: program.attacker, settings: { seed, targets, mqttPort, httpPort, connections: CONNECTIONS }
  })
  return {
    gateway,
    publisher,
    attacker,
    readers,
    httpPort,
    ledgerPath,
    databaseUrl: databaseUrl ?? (await readFile(join(dataDir, 'database-url'),
      'utf8')).trim()
  }
}

class FuzzRun {
  readonly #options: FuzzRunOptions
  readonly #parts: Parts
  readonly #pulse: Pulse
  readonly #violations: Violation[] = []
  readonly #checkpoints: Checkpoint[] = []
  #attackMs = 0
  #figures: PublisherFigures | null = null
  #ledger: Record<string, number> = {}
  #packetsRead = 0

  private constructor (options: FuzzRunOptions, parts: Parts) {
    this.#options = options
    this.#parts = parts
    this.#pulse = new Pulse(parts.gateway.pid, () => {
      parts.gateway.sample()
      options.onProgress(this.#packets)
    })
  }

  static async start (options: FuzzRunOptions): Promise<FuzzRun> {
    return new FuzzRun(options, await startParts(options))
  }

  get #packets (): number { return this.#parts.attacker.figures.packets }

  /** In rounds with a rest after each. Ends early when the gateway does. */
  async attack (): Promise<void> {
    const { from, packets, rounds, timeMs } = this.#options
    const { attacker, gateway } = this.#parts
    const deadlineMs = performance.now() + timeMs
    let next = from
    for (let round = 1; round <= rounds; round++) {
      const startMs = performance.now()
      // Without an end to the packets the time ends a round; Infinity does not pass between processes.
      const packetsLeft = Math.min(Math.ceil(packets * round / rounds) - this.#packets, Number.MAX_SAFE_INTEGER)
      const timeLeftMs = Math.max(ROUND_MIN_MS, (deadlineMs - startMs) / (rounds - round + 1))
      if (packetsLeft <= 0) break
      const ended = await Promise.race([attacker.attack({ from: next, packets: packetsLeft, timeMs: timeLeftMs }), gateway.exited])
      this.#attackMs += performance.now() - startMs
      if (typeof ended !== 'number') return
      next = ended
      await this.#rest()
      if (gateway.isGone) return
    }
  }

  /** Looks at what the gateway still holds once the attack's connections are closed. */
  async #rest (): Promise<void> {
    const { gateway, httpPort } = this.#parts
    const isQuiet = async () => (await readState(httpPort, gateway.pid, 0)).clients <= GOOD_LOAD.devices + READERS.length
    if (await until(() => gateway.isGone || isQuiet(), REST_TIMEOUT_MS, 200) === null) {
      this.#violate('descriptors', `clients of the attack were still connected ${REST_TIMEOUT_MS} ms after it had ended`)
    }
    if (!gateway.isGone) for (const fault of await this.#parts.readers.check()) this.#violateOnce('subscribers', fault)
    // Twice, because finalisers release more.
    for (let times = 0; times < 2 && !gateway.isGone; times++) {
      gateway.signal('SIGUSR2')
      await sleep(GARBAGE_MS)
    }
    if (!gateway.isGone) this.#checkpoints.push(await readState(httpPort, gateway.pid, this.#packets))
  }

  /** Waits until everything is acknowledged and decided. */
  async settle (): Promise<void> {
    const { gateway, publisher, httpPort } = this.#parts
    if (gateway.isGone) return
    this.#figures = await publisher.drain(DRAIN_TIMEOUT_MS)
    const isSettled = await until(async () => (await scrape(httpPort)).pending === 0, DRAIN_TIMEOUT_MS)
    if (isSettled === null && gateway.isGone) return
    const { received, stored, duplicate, deadLettered, refused, pending, balance } = await scrape(httpPort)
    this.#ledger = { received, stored, duplicate, deadLettered, refused, pending, balance }
    if (balance !== 0 || pending !== 0) this.#violate('ledger', `the ledger does not balance: ${JSON.stringify(this.#ledger)}`)
    this.#packetsRead = await readPacketsRead(httpPort)
  }

  async judge (): Promise<FuzzOutcome> {
    const { gateway, publisher, attacker, ledgerPath } = this.#parts
    const isCrashed = gateway.isGone
    if (isCrashed) this.#violate('alive', `the gateway ended unexpectedly:\n${gateway.tail()}`)
    await publisher.endAccount()
    const ledger = await readLedger(ledgerPath)
    const good = acknowledgedWithin(ledger, 0, Infinity)
    if (!isCrashed) {
      await this.#checkStored(ledger)
      const { code } = await gateway.stop()
      if (code !== 0) this.#violate('alive', `SIGTERM ended with ${code}:\n${gateway.tail()}`)
      const { disconnects = 0, faults = [], unacknowledged = 0 } = this.#figures ?? {}
      this.#violations.push(
        ...checkGrowth(this.#checkpoints),
        ...checkGoodClient({ slowestMs: good.slowestMs, pauseMs: this.#pulse.longestPauseMs, disconnects, faults, unacknowledged }))
    }
    this.#violations.push(...checkLog(gateway.logged()))
    if (gateway.peakRssBytes > RSS_BYTES_MAX) this.#violate('memory', `${gateway.peakRssBytes} bytes were resident`)
    const attack = attacker.figures
    if (!isCrashed && attack.packets === 0) throw new Error('the attacker has sent nothing')
    // A gateway that has ended refuses every connection.
    if (!isCrashed) for (const message of attack.faults) this.#violate('answers', message)
    return {
      attack,
      packetsRead: this.#packetsRead,
      attackS: Math.round(this.#attackMs / 100) / 10,
      good: {
        acknowledged: good.acknowledged,
        p99Ms: good.p99Ms,
        slowestMs: good.slowestMs,
        machinePauseMs: Math.round(this.#pulse.longestPauseMs)
      },
      ledger: this.#ledger,
      checkpoints: this.#checkpoints,
      peakRssBytes: gateway.peakRssBytes,
      peakDescriptors: gateway.peakDescriptors,
      violations: this.#violations
    }
  }

  /** Every reading acknowledged to a well-behaved client is stored. */
  async #checkStored (ledger: LedgerEntries): Promise<void> {
    const { violations, lost } = await checkStored({ query: createQuery(this.#parts.databaseUrl), ledger, prefix: GOOD_PREFIX })
    for (const { checker, message } of violations) this.#violate('stored', `${checker} ${message}`)
    if (lost.length > 0) this.#violate('stored', `${lost.length} acknowledged readings are not stored`)
  }

  end (): void {
    this.#pulse.stop()
    this.#parts.attacker.kill()
    this.#parts.publisher.kill()
    this.#parts.readers.kill()
  }

  /** Notes a violation that each round may report again, once. */
  #violateOnce (check: Violation['check'], message: string): void {
    if (!this.#violations.some((violation) => violation.message === message)) this.#violate(check, message)
  }

  #violate (check: Violation['check'], message: string): void {
    this.#violations.push({ check, message })
  }
}
