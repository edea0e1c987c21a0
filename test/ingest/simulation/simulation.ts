/**
 * Runs batch, journal, circuit, writer, replayer and spool together through a random schedule, on a simulated clock, disk and
 * database, and checks after every event:
 * - received = stored + duplicate + dead_lettered + refused + pending, and no counter ever falls;
 * - pending readings stay within their bound, and no message is answered twice.
 * At the end all faults stop, the devices send their unanswered messages, and:
 * - everything is answered, nothing is pending and the spool is empty within a minute of simulated time;
 * - everything acknowledged is a row or a dead letter, once, and there are no others.
 * Throws with the seed in the message. The broker keeps the order of one client's acknowledgements, so it is not checked here.
 */
import assert from 'node:assert/strict'
// Imported first: it replaces functions that the other modules bind when they are loaded.
import { settleMicrotasks, VirtualTime } from './time.ts'
import { FakeDatabase, WEATHERS } from './database.ts'
import { Books } from './books.ts'
import { drawLimits, type GatewayLimits, type SimulatedGateway, startGateway } from './gateway.ts'
import { MESSAGE_UNITS_MAX, Traffic } from './traffic.ts'
import { FakeDisk, type Lie, NO_FAULTS } from '../journal/spool/fake-disk.ts'
import { isSetAside } from '../../../src/ingest/journal/spool/set-aside.ts'
import { Random } from '../../../scripts/harness/random.ts'

const LIVES_MAX = 4
const STEPS_MAX = 50
/** Enough for a healed gateway with so small a backlog. */
const HEALING_MAX_MS = 60_000
/** The bound of reliability.md on a stop. */
const STOP_MAX_MS = 15_000
const OVERSHOOT_MAX = 3
/** A probe every 5 s at most, and operations that were slow when the disk healed. */
const PROBED_MAX_MS = 20_000

export interface SimulationOptions {
  readonly seed: number
  readonly lie?: Lie
  readonly isAckEarly?: boolean
  /** The most bits that flip on the disk of a machine that is off. Each loses one batch at most. */
  readonly flipsMax?: number
}

export interface SimulationResult {
  readonly messages: number
  readonly acknowledged: number
  readonly rows: number
  readonly letters: number
  /** The number of units that were replayed over all lives, and of units that were refused, so that their devices keep them. */
  readonly replayed: number
  readonly refused: number
  readonly events: number
  readonly virtualMs: number
}

export async function simulate (options: SimulationOptions): Promise<SimulationResult> {
  const random = new Random(options.seed)
  const time = new VirtualTime()
  const simulation = new Simulation(random, time, options)
  const onUnhandled = (error: Error) => { simulation.failure ??= error }
  process.on('unhandledRejection', onUnhandled)
  time.install(new Random(options.seed + 1))
  try {
    return await simulation.run()
  } catch (error) {
    throw new Error(`seed ${options.seed}: ${(error as Error).message}`, { cause: error })
  } finally {
    time.uninstall()
    process.off('unhandledRejection', onUnhandled)
  }
}

class Simulation {
  readonly #random: Random
  readonly #time: VirtualTime
  readonly #options: SimulationOptions
  readonly #limits: GatewayLimits
  readonly #database: FakeDatabase
  readonly #disk: FakeDisk
  readonly #traffic: Traffic
  #diskLatenciesMs: readonly number[] = [0]
  #gateway: SimulatedGateway | null = null
  #life = 0
  #isMistaken = false
  readonly #books: Books
  #flips = 0
  /** An unhandled rejection of a promise of ingest. */
  failure: Error | null = null
  /** The number of messages on their way when the transports were asked to stop reading. */
  #overshoot = 0

  constructor (random: Random, time: VirtualTime, options: SimulationOptions) {
    this.#random = random
    this.#time = time
    this.#options = options
    this.#limits = drawLimits(random)
    this.#database = new FakeDatabase(random, time)
    this.#disk = new FakeDisk(random, options.lie)
    this.#traffic = new Traffic(random)
    this.#books = new Books(this.#limits, this.#traffic, this.#database, OVERSHOOT_MAX)
  }

  async run (): Promise<SimulationResult> {
    const lives = 1 + this.#random.below(LIVES_MAX)
    for (let life = 1; life <= lives; life++) {
      await this.#start()
      for (let step = this.#random.below(STEPS_MAX); step > 0; step--) await this.#act()
      if (life < lives) await this.#die()
    }
    await this.#heal()
    this.#books.closeLife(this.#gateway)
    this.#traffic.check(this.#database, this.#setAside(), this.#limits.deadLettersMax < Infinity, this.#flips * this.#recordUnitsMax)
    const { messages, acknowledged } = this.#traffic.counts
    return {
      messages,
      acknowledged,
      rows: this.#database.rows.size,
      letters: this.#database.letters.size,
      ...this.#books.sums,
      events: this.#time.fired,
      virtualMs: this.#time.nowMs
    }
  }

  #setAside (): Set<number> {
    const ids = new Set<number>()
    for (const content of this.#disk.contents(isSetAside)) {
      const id = /"id":(\d+)/.exec(content.toString())?.[1] ?? /"id":(\d+)/.exec(decodeLetter(content))?.[1]
      if (id !== undefined) ids.add(Number(id))
    }
    return ids
  }

  /** A batch takes whole messages until it is full. */
  get #recordUnitsMax (): number {
    return Math.max(this.#limits.batchReadingsMax, MESSAGE_UNITS_MAX)
  }

  get #running (): SimulatedGateway {
    assert.ok(this.#gateway !== null)
    return this.#gateway
  }

  async #start (): Promise<void> {
    for (;;) {
      const life = ++this.#life
      this.#traffic.beginLife()
      this.#books.beginLife()
      const isAlive = () => life === this.#life
      const starting = startGateway({
        limits: this.#limits,
        time: this.#time,
        database: this.#database,
        disk: this.#disk,
        diskLatencyMs: () => this.#random.pick(this.#diskLatenciesMs) * this.#random.next(),
        isAlive,
        isAckEarly: this.#options.isAckEarly === true
      })
      const start = watch(starting)
      for (let waits = 0; !start.isSettled; waits++) {
        assert.ok(waits < 1000, 'it starts')
        await this.#time.advance(100, () => {})
      }
      if (start.error === null) {
        this.#gateway = await starting
        break
      }
      // A start on a broken disk ends the process; the supervisor starts it again.
      if (this.#disk.faults === NO_FAULTS) throw start.error
      this.#kill('kill')
      await this.#clear()
      this.#healDisk()
    }
    // Only while the spool is empty, so that the defect never meets readings that are already acknowledged.
    const { spool } = this.#running
    this.#database.isMistaken = () => spool.isEmpty && this.#isMistaken
    this.#check()
  }

  async #act (): Promise<void> {
    const random = this.#random
    const roll = random.next()
    if (roll < 0.6) {
      this.#send(1 + random.below(random.pick([1, 1, 4, 15])))
      await this.#advance(random.pick([0, 0.5, 3, 20]))
    } else if (roll < 0.75) {
      await this.#advance(random.pick([10, 100, 1000, 5000]) * random.next())
    } else if (roll < 0.87) {
      this.#changeDatabase()
    } else if (roll < 0.97) {
      this.#changeDisk()
    } else {
      await this.#advance(20_000 * random.next())
    }
  }

  #send (count: number): void {
    const gateway = this.#running
    for (let sent = 0; sent < count; sent++) {
      // A transport that was asked to stop reading delivers only what it has already read. HTTP answers 429 or 503.
      if (!gateway.isReadingStopped()) this.#overshoot = 0
      else if (this.#overshoot++ >= OVERSHOOT_MAX) return
      this.#traffic.send(gateway)
      this.#check()
    }
  }

  #changeDatabase (): void {
    const random = this.#random
    this.#database.weather = random.chance(0.4) ? 'fine' : random.pick(WEATHERS)
    if (random.chance(0.2)) this.#database.hasConstraint = !this.#database.hasConstraint
    this.#isMistaken = random.chance(0.05)
  }

  #changeDisk (): void {
    const random = this.#random
    if (random.chance(0.4)) return this.#healDisk()
    const some = () => random.pick([0, 0, 0.05, 0.3])
    this.#disk.faults = { write: some(), sync: some(), syncDirectory: some(), read: some() / 4, other: some() / 2 }
    if (random.chance(0.2)) this.#disk.faults = { ...NO_FAULTS, sync: 1 }
    this.#disk.capacityBytes = random.chance(0.3) ? this.#disk.sizeOf(() => true) + random.below(4000) : Infinity
    this.#diskLatenciesMs = random.pick([[0], [0, 1, 20], [0, 500], [3000]])
  }

  #healDisk (): void {
    this.#disk.faults = NO_FAULTS
    this.#disk.capacityBytes = Infinity
    this.#diskLatenciesMs = [0, 1]
  }

  async #die (): Promise<void> {
    const random = this.#random
    let end = random.pick(['stop', 'kill', 'kill', 'power', 'power'] as const)
    if (end === 'stop' && !await this.#stop()) end = 'kill'
    if (random.chance(0.5)) {
      // Between the microtasks that follow from an event.
      if (end !== 'stop') this.#send(random.below(10))
      this.#time.fireNext()
      for (let ticks = random.below(60); ticks > 0; ticks--) await Promise.resolve()
    }
    this.#kill(end)
    await this.#clear()
    await this.#time.advance(random.pick([0, 10, 5000]), () => {})
    if (random.chance(0.7)) this.#healDisk()
  }

  #kill (end: 'stop' | 'kill' | 'power'): void {
    this.#books.closeLife(this.#gateway)
    this.#life++
    this.#gateway = null
    if (end === 'kill') this.#disk.kill()
    if (end === 'power' || (end === 'stop' && this.#random.chance(0.3))) this.#disk.cutPower()
    if (end === 'power') this.#flipBits()
  }

  #flipBits (): void {
    const { flipsMax = 0 } = this.#options
    while (this.#flips < flipsMax && this.#random.chance(0.7) && this.#disk.flipBit() !== null) this.#flips++
  }

  /** Lets the remaining callbacks of a dead process run out. They have no effect. */
  async #clear (): Promise<void> {
    await settleMicrotasks()
    this.#time.dropProcess()
  }

  /** @returns whether it ended by itself in time */
  async #stop (): Promise<boolean> {
    const startedAtMs = this.#time.nowMs
    const stop = watch(this.#running.stop())
    while (!stop.isSettled) {
      // A disk may hang for any time.
      if (this.#time.nowMs - startedAtMs > STOP_MAX_MS) {
        assert.ok(this.#diskLatenciesMs.some((ms) => ms > 20), `a stop takes longer than ${STOP_MAX_MS} ms`)
        return false
      }
      await this.#advance(50)
    }
    if (stop.error !== null) throw stop.error
    assert.equal(this.#traffic.unsettled, 0, 'a stop settles everything')
    assert.equal(this.#disk.openFiles, 0, 'a stop closes every file')
    return true
  }

  /** The disk comes back, and PostgreSQL does not. The spool must recover without PostgreSQL. */
  async #healDiskAlone (): Promise<void> {
    this.#database.weather = 'away'
    this.#healDisk()
    await this.#advance(PROBED_MAX_MS)
    if (this.#limits.spoolBytesMax < 1e9) return
    assert.equal(this.#running.spool.status, 'ok', 'the spool comes back by itself')
    assert.equal(this.#running.batcher.isAvailable, true, 'readings are taken again without PostgreSQL')
  }

  async #heal (): Promise<void> {
    if (this.#random.chance(0.3)) await this.#healDiskAlone()
    this.#database.weather = 'fine'
    this.#isMistaken = false
    this.#healDisk()
    const { batcher, circuit, replayer, spool, isReadingStopped } = this.#running
    const startedAtMs = this.#time.nowMs
    const isHealed = () => this.#traffic.isDone && batcher.pending === 0 && replayer.pending === 0 && spool.isEmpty
    if (this.#options.isAckEarly === true) return await this.#advance(HEALING_MAX_MS)
    while (!isHealed()) {
      assert.ok(this.#time.nowMs - startedAtMs < HEALING_MAX_MS, 'healed, but not finished: ' + JSON.stringify({
        circuit: circuit.state,
        spool: spool.status,
        spooled: spool.readings,
        isReadingStopped: isReadingStopped(),
        inBatcher: batcher.pending,
        inReplayer: replayer.pending,
        unsettled: this.#traffic.unsettled
      }))
      if (!isReadingStopped()) this.#traffic.resend(this.#running)
      await this.#advance(100)
    }
    // A ping and a slow operation of the disk may still be on their way.
    await this.#advance(10_000)
    assert.equal(circuit.state, 'closed', 'the circuit closes')
    assert.equal(spool.status, 'ok', 'the spool is well')
    assert.equal(isReadingStopped(), false, 'reading begins again')
    assert.equal(batcher.bytes, 0, 'no bytes are charged without a reading')
    assert.equal(spool.readings, 0, 'the spool counts no readings')
    if (this.#random.chance(0.3)) await this.#stop()
  }

  async #advance (ms: number): Promise<void> {
    await this.#time.advance(ms, () => { this.#check() })
  }

  #check (): void {
    const failure = this.#traffic.failure ?? this.failure
    if (failure !== null) throw failure
    // An early acknowledgement is found by the readings that are missing in the end.
    if (this.#options.isAckEarly !== true) this.#books.check(this.#running)
  }
}

/** The payload of a dead letter that was set aside. */
function decodeLetter (content: Buffer): string {
  return Buffer.from(/"payload":"([^"]*)"/.exec(content.toString())?.[1] ?? '', 'base64').toString()
}

/** Lets time pass until something settles. */
function watch (promise: Promise<unknown>): { readonly isSettled: boolean, readonly error: Error | null } {
  const state: { isSettled: boolean, error: Error | null } = { isSettled: false, error: null }
  promise.then(() => { state.isSettled = true }, (error: Error) => {
    state.isSettled = true
    state.error = error
  })
  return state
}
