import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findFreePort } from '../../../db/embedded/cluster.ts'
import type { Random } from '../../harness/random.ts'
import { judgeAccount } from '../checks/account.ts'
import type { Belongings } from '../../harness/belongings.ts'
import type { Program } from './build.ts'
import { judgeAverages } from '../../harness/checks/averages.ts'
import { type Query, tell, type Violation } from '../../harness/checks/stored.ts'
import { GatewayProcess } from '../../harness/gateway-process.ts'
import { addIdentities, toDeviceIds } from '../../harness/devices/identities.ts'
import type { Break, Injection } from './injection.ts'
import type { Entry, Measure } from '../../harness/checks/ledger-file.ts'
import type { Load, PublisherSettings } from '../../harness/devices/messages.ts'
import { checkMetrics, readReadiness, type Readiness, type Rows, type Scrape, scrape } from '../../harness/checks/metrics.ts'
import { createQuery, type OwnPostgres } from '../../harness/own-postgres.ts'
import type { Outcome } from '../outcome.ts'
import type { PublisherProcess } from '../../harness/devices/publisher-process.ts'
import { READER_ID, readBeside } from '../devices/readers.ts'
import { drain, settle } from '../checks/settle.ts'
import { countNew, countRows, untilIdle } from '../../harness/checks/tables.ts'
import { until } from '../../harness/until.ts'
import { readV8Flags } from '../../harness/v8-flags.ts'
import { explainWait, type Life, type Waits } from '../checks/waits.ts'
import { Watch } from '../checks/watch.ts'

/** initdb, migrations and recovery on a busy machine included. */
const READY_TIMEOUT_MS = 60_000

/** Publisher and ledger of a second gateway, for an account of both. */
export interface Books {
  readonly publisher: PublisherProcess
  /** Port of metrics and health. */
  readonly httpPort: number
  readonly ledgerPath: () => string
}

export interface RigOptions {
  readonly belongings: Belongings
  readonly program: Program
  readonly publisher: PublisherProcess
  /** `null` where the gateway runs its embedded PostgreSQL. */
  readonly ownPostgres: OwnPostgres | null
  readonly dir: string
  /** Name of the fault, for device ids and the outcome. */
  readonly faultName: string
  readonly load: Load
  readonly random: Random
  readonly seed: number
  readonly cycles: number
  readonly seconds: number
  readonly rows: number | undefined
  readonly breaks: Break | undefined
  /** Readers of pages beside the devices. */
  readonly readers: number
  readonly onCycle: (done: number) => void
  /** Progress within a cycle. */
  readonly onRemark: (remark: string) => void
}

/** One gateway, its database, and devices that publish to it. Faults strike it, and the rig keeps the accounts. */
export class Rig {
  readonly options: RigOptions
  readonly violations: Violation[] = []
  readonly verdicts: string[] = []
  readonly figures: Record<string, number | string> = {}
  readonly watch: Watch
  readonly dataDir: string
  query: Query
  cyclesDone = 0
  #gateway: GatewayProcess | null = null
  #databaseUrl: string | null
  #ports = { mqtt: 0, http: 0, admin: 0 }
  readonly #lives: Life[] = []
  #chapters = 0
  #account: { prefix: string, ledgerPath: string } | null = null
  readonly #readers: ReturnType<typeof readBeside>
  /** Rows that were stored before this process of the gateway started; `null` when they were not counted. */
  #baseline: Rows | null = { readings: 0, letters: 0 }
  readonly #violate = (checker: Violation['checker'], message: string) => { this.violate(checker, message) }
  readonly #sums = { sent: 0, acknowledged: 0, resent: 0, lost: 0, duplicated: 0, slowestAckMs: 0, recoveryMs: 0 }

  constructor (options: RigOptions, databaseUrl: string | null) {
    this.options = options
    this.dataDir = join(options.dir, 'data')
    this.#databaseUrl = databaseUrl
    this.query = databaseUrl === null ? () => Promise.reject(new Error('no database yet')) : createQuery(databaseUrl)
    this.#readers = readBeside(this, options.readers)
    this.watch = new Watch({
      gateway: () => this.#gateway,
      httpPort: () => this.adminPort,
      connections: options.load.devices + options.load.httpDevices,
      onViolation: (violation) => this.violations.push(violation)
    })
  }

  get gateway (): GatewayProcess {
    if (this.#gateway === null) throw new Error('no gateway runs')
    return this.#gateway
  }

  get mqttPort (): number { return this.#ports.mqtt }
  get httpPort (): number { return this.#ports.http }
  /** Port of metrics and health: one of their own where HTTP needs credentials. */
  get adminPort (): number { return this.options.load.isIdentified ? this.#ports.admin : this.#ports.http }
  get databaseUrl (): string { return this.#databaseUrl ?? '' }

  get ownPostgres (): OwnPostgres {
    if (this.options.ownPostgres === null) throw new Error('this fault has no PostgreSQL of the harness')
    return this.options.ownPostgres
  }

  /** Directory of PostgreSQL's cluster, which identifies its processes. */
  get clusterDir (): string { return this.options.ownPostgres?.dir ?? join(this.dataDir, 'postgres') }

  between (min: number, max: number): number { return this.options.random.between(min, max) }

  violate (checker: Violation['checker'], message: string): void {
    this.violations.push({ checker, message })
  }

  /** A figure with its bound; the report shows both, and a figure beyond the bound is a violation. */
  verdict (what: string, value: number, max: number, unit: string): void {
    const holds = value <= max
    this.verdicts.push(`${what}: ${value} ${unit}, at most ${max} ${unit}: ${holds ? 'holds' : 'VIOLATED'}`)
    if (!holds) this.violate('expected', `${what}: ${value} ${unit}, more than ${max} ${unit}`)
  }

  /** Notes how long a recovery took; the longest is shown. */
  recovered (ms: number): void {
    this.#sums.recoveryMs = Math.max(this.#sums.recoveryMs, ms)
  }

  /** Adds to a figure of the fault. */
  count (name: string, count: number): void {
    this.figures[name] = Number(this.figures[name] ?? 0) + count
  }

  cycleDone (): void {
    this.options.onCycle(++this.cyclesDone)
  }

  /** Strikes once for each cycle, counting from 1. */
  async repeat (strike: (cycle: number) => Promise<void>): Promise<void> {
    for (let cycle = 1; cycle <= this.options.cycles; cycle++) {
      await strike(cycle)
      this.cycleDone()
    }
  }

  /** Starts a gateway and load. */
  async begin (settings: Partial<PublisherSettings> = {}): Promise<void> {
    await this.startGateway()
    await this.beginAccount(settings)
  }

  /**
   * Starts the gateway's next life and waits until it is ready.
   * @param how.isCounted - counts the rows first, so that the metrics of this life can be compared with the tables (C7)
   */
  async startGateway (how: {
    injection?: Injection, env?: Readonly<Record<string, string>>, wrapper?: readonly string[], isCounted?: boolean, isUnready?: boolean
  } = {}): Promise<void> {
    const { belongings, program, dir, breaks } = this.options
    if (this.#ports.mqtt === 0) {
      this.#ports = { mqtt: await findFreePort(), http: await findFreePort(), admin: await findFreePort() }
    }
    await mkdir(this.dataDir, { recursive: true, mode: 0o700 })
    if (this.#lives.length > 0) {
      this.#baseline = how.isCounted === true ? await untilIdle(this.query, 'true').then(() => countRows(this.query)) : null
    }
    const life: Life = { startedAtMs: Date.now(), readyAtMs: null, endedAtMs: null }
    this.#lives.push(life)
    const injection = breaks === undefined ? how.injection : { ...how.injection, breaks }
    this.#gateway = new GatewayProcess({
      belongings,
      wrapper: how.wrapper ?? [],
      args: [...readV8Flags(), ...injection === undefined ? [program.gateway] : [program.gatewayUnderTest, JSON.stringify(injection)]],
      cwd: dir,
      env: { ...this.toEnvironment(this.dataDir, this.#ports), ...how.env },
      logPath: join(dir, `gateway-${this.#lives.length}.log`)
    })
    this.watch.started(this.#gateway)
    this.#gateway.exited.then(() => { life.endedAtMs = Date.now() }, () => {})
    if (how.isUnready === true) return
    const tookMs = await this.#gateway.waitReady(READY_TIMEOUT_MS)
    life.readyAtMs = Date.now()
    if (this.#lives.length > 1) this.recovered(tookMs)
    if (this.options.ownPostgres === null) {
      this.#databaseUrl = (await readFile(join(this.dataDir, 'database-url'), 'utf8')).trim()
      this.query = createQuery(this.#databaseUrl)
    }
  }

  /** The environment of a gateway of this rig. */
  toEnvironment (dataDir: string, ports: { mqtt: number, http: number, admin?: number }): Record<string, string> {
    return {
      VITAL_DATA_DIR: dataDir,
      VITAL_MQTT_PORT: String(ports.mqtt),
      VITAL_HTTP_PORT: String(ports.http),
      ...(this.options.load.isIdentified && ports.admin !== undefined ? { VITAL_ADMIN_PORT: String(ports.admin) } : {}),
      VITAL_DEAD_LETTERS_MAX: '10000000',
      VITAL_DEAD_LETTERS_PER_DEVICE_MAX: '1000000',
      ...(this.#databaseUrl === null || this.options.ownPostgres === null ? {} : { DATABASE_URL: this.#databaseUrl })
    }
  }

  async killGateway (): Promise<void> {
    await this.gateway.kill()
    this.watch.ended()
  }

  /** Waits for a gateway that kills itself. */
  async awaitDeath (timeoutMs: number, why: string): Promise<void> {
    const gateway = this.gateway
    gateway.isEnding = true
    const tookMs = await this.until(() => gateway.isGone, timeoutMs)
    this.watch.ended()
    if (tookMs !== null) return
    this.violate('expected', `the gateway did not come to ${why} within ${timeoutMs} ms`)
    await gateway.kill()
  }

  /** SIGTERM; anything but exit 0 within 15 s is a violation. */
  async stopGateway (): Promise<number> {
    const { code, tookMs } = await this.gateway.stop()
    this.watch.ended()
    if (code !== 0 || tookMs > 15_000) {
      this.violate('C6', `SIGTERM ended with ${code} after ${Math.round(tookMs)} ms:\n${this.gateway.tail()}`)
    }
    return tookMs
  }

  async scrape (): Promise<Scrape> { return await scrape(this.adminPort) }
  async readiness (): Promise<Readiness> { return await readReadiness(this.adminPort) }

  /** Waits until a condition holds. @returns milliseconds; `null` when it did not hold in time */
  async until (holds: () => Promise<boolean> | boolean, timeoutMs: number, pollMs = 50): Promise<number | null> {
    return await until(holds, timeoutMs, pollMs)
  }

  /** Begins an account: new devices, a new ledger, and load. */
  async beginAccount (settings: Partial<PublisherSettings> = {}): Promise<void> {
    const { publisher, dir, faultName, seed } = this.options
    const prefix = `${faultName}${++this.#chapters}`
    const ledgerPath = join(dir, `ledger-${this.#chapters}`)
    this.#account = { prefix, ledgerPath }
    if (this.options.load.isIdentified) {
      await addIdentities(this.databaseUrl, 'device', toDeviceIds({ ...this.options.load, ...settings, prefix }))
      await addIdentities(this.databaseUrl, 'application', [READER_ID])
    }
    this.#readers.start()
    await publisher.run({
      ...this.options.load,
      mqttPort: this.#ports.mqtt,
      httpPort: this.#ports.http,
      ledgerPath,
      prefix,
      seed: seed + this.#chapters * 10_007,
      numbering: { first: 0, step: 1 },
      ...settings
    })
  }

  /** Prefix of the device ids of the open account. */
  get prefix (): string { return this.#account?.prefix ?? '' }

  get publisher (): PublisherProcess { return this.options.publisher }

  /**
   * Ends the account: all is resent until it is acknowledged, the gateway brings everything into PostgreSQL, then C1, C2, C3
   * and C7 are checked.
   * @param how.mayLose - readings that this fault may lose: those in damaged records
   * @param how.measures - see the ledger, for checks of the fault's own; it is removed afterwards
   */
  async endAccount (how: { mayLose?: (lost: Entry) => boolean, also?: Books, measures?: readonly Measure[] } = {}): Promise<void> {
    const account = this.#account
    if (account === null) throw new Error('no account is open')
    this.#account = null
    await this.#readers.stop()
    const figures = await drain(this.publisher, this.#violate)
    if (how.also !== undefined) await drain(how.also.publisher, this.#violate)
    const settled = await settle(this.adminPort, this.query, this.#violate) ?? await this.#settleAfterRestart()
    if (how.also !== undefined) await settle(how.also.httpPort, this.query, this.#violate)
    this.count('averagesCompared', await judgeAverages(this.query, this.#violate))
    const ledgerPaths = [account.ledgerPath, ...(how.also === undefined ? [] : [how.also.ledgerPath()])]
    await this.publisher.endAccount()
    await how.also?.publisher.endAccount()
    const { findings, waits } = await judgeAccount({
      query: this.query, prefix: account.prefix, mayLose: how.mayLose, ledgerPaths, measures: how.measures ?? []
    })
    const { violations, lost, lostCount, lostToDamage } = findings
    this.violations.push(...violations)
    for (const entry of lost.slice(0, 5)) this.violate('C1', `acknowledged and lost: ${tell(entry)}`)
    if (lostCount > 5) this.violate('C1', `acknowledged and lost: ${lostCount} in all`)
    if (lostToDamage > 0) this.count('lostToDamage', lostToDamage)
    // With two gateways new rows cannot be assigned to one of them.
    const baseline = how.also === undefined ? this.#baseline : null
    if (settled !== null) this.violations.push(...checkMetrics(settled, baseline === null ? null : await countNew(this.query, baseline)))
    if (baseline !== null) this.count('livesCounted', 1)
    const sums = this.#sums
    sums.sent += figures.sent
    sums.acknowledged += findings.acknowledged
    sums.resent += figures.resent
    sums.lost += lostCount
    sums.duplicated += findings.duplicated
    this.#noteWaits(waits)
    this.count('disconnects', figures.disconnects)
    if (figures.refused > 0) this.count('refused', figures.refused)
    for (const [code, count] of Object.entries(figures.disconnectCodes)) this.count(`disconnect0x${Number(code).toString(16)}`, count)
  }

  /** Notes the longest waits and their causes. */
  #noteWaits ({ slowestMs, slowest, slowestAnswerMs, slowestAnswer }: Waits): void {
    if (slowest !== null && slowestMs > this.#sums.slowestAckMs) {
      this.#sums.slowestAckMs = slowestMs
      this.figures['slowestAck'] = `${tell(slowest)}, ${explainWait(slowest, this.#lives)}`
    }
    if (slowestAnswer !== null && slowestAnswerMs > Number(this.figures['slowestAnswerMs'] ?? -1)) {
      this.figures['slowestAnswerMs'] = slowestAnswerMs
      this.figures['slowestAnswer'] = `${tell(slowestAnswer)}, ${explainWait(slowestAnswer, this.#lives)}`
    }
  }

  /** After a run that broke off. */
  async endProcesses (): Promise<void> {
    await this.#readers.stop()
    if (this.#gateway !== null && !this.#gateway.isGone) await this.#gateway.kill()
  }

  outcome (): Outcome {
    return {
      fault: this.options.faultName,
      cycles: this.cyclesDone,
      ...this.#sums,
      peakRssBytes: this.watch.peakRssBytes,
      figures: { ...this.figures, peakDescriptors: this.watch.peakDescriptors, scrapes: this.watch.scrapes },
      verdicts: this.verdicts,
      violations: this.violations
    }
  }

  /** Readings that stay in a gateway's spool are not lost, and must not be reported as lost. */
  async #settleAfterRestart (): Promise<Scrape | null> {
    await this.killGateway()
    await this.startGateway({ isCounted: true })
    return await settle(this.adminPort, this.query, this.#violate)
  }
}
