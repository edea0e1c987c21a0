/**
 * Runs a spool on a fake disk through a random schedule, and checks it against a model:
 * - a record that was acknowledged and not released comes back once per open, in the order of the appends, byte for byte;
 * - a record that was not acknowledged may come back after a restart, in its place;
 * - a record whose release was confirmed does not come back, and no other record appears;
 * - a flipped bit loses one record at most.
 * Throws with the seed in the message.
 */
import assert from 'node:assert/strict'
import { pino } from 'pino'
import { openSpool, type Spool } from '../../../../src/ingest/journal/spool/spool.ts'
import type { Position } from '../../../../src/ingest/journal/spool/reader.ts'
import { FakeDisk, type Lie, NO_FAULTS } from './fake-disk.ts'
import { Random } from '../../../../scripts/harness/random.ts'

const logger = pino({ level: 'silent' })

interface Entry {
  readonly payload: Buffer
  readonly readings: number
  state: 'waiting' | 'acknowledged' | 'rejected' | 'unknown'
  /** `asked`: a release is under way, failed, or was cut short by a crash. */
  release: 'none' | 'asked' | 'done'
}

export interface SimulationOptions {
  readonly seed: number
  readonly lie?: Lie
  readonly hasFaults?: boolean
  readonly flipsMax?: number
}

export interface SimulationResult {
  readonly acknowledged: number
  readonly rejected: number
  readonly read: number
  readonly missing: number
  readonly stretches: number
}

export async function simulate ({ seed, lie = 'none', hasFaults = false, flipsMax = 0 }: SimulationOptions): Promise<SimulationResult> {
  const random = new Random(seed)
  const simulation = new Simulation(random, new FakeDisk(random, lie), hasFaults, flipsMax)
  try {
    const lives = 2 + random.below(5)
    for (let life = 0; life < lives; life++) await simulation.live(life === lives - 1)
    return simulation.result
  } catch (error) {
    throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
  }
}

class Simulation {
  readonly #random: Random
  readonly #disk: FakeDisk
  readonly #hasFaults: boolean
  #flipsLeft: number
  #flips = 0
  readonly #entries: Entry[] = []
  readonly #bytesMax: number
  readonly #segmentBytes: number
  #stretches = 0
  #reads = 0
  #rejected = 0
  #hadBadStart = false
  #missing = new Set<number>()
  // The state of one life:
  #spool: Spool | null = null
  #seen = new Set<number>()
  #last = -1
  #firstId = 0
  #unreleased: Array<{ id: number, position: Position }> = []
  #inFlight = 0
  #failure: Error | null = null

  constructor (random: Random, disk: FakeDisk, hasFaults: boolean, flipsMax: number) {
    this.#random = random
    this.#disk = disk
    this.#hasFaults = hasFaults
    this.#flipsLeft = flipsMax
    this.#segmentBytes = 100 + random.below(2000)
    this.#bytesMax = random.chance(0.3) ? 1000 + random.below(4000) : 1e9
  }

  get result (): SimulationResult {
    return {
      acknowledged: this.#entries.filter(({ state }) => state === 'acknowledged').length,
      rejected: this.#rejected,
      read: this.#reads,
      missing: this.#missing.size,
      stretches: this.#stretches
    }
  }

  /** One run of the process, from the open to its death. */
  async live (isLast: boolean): Promise<void> {
    const isBadStart = this.#hasFaults && this.#random.chance(0.3)
    if (isBadStart) this.#hadBadStart = true
    this.#disk.faults = isBadStart ? { ...NO_FAULTS, other: 0.05, syncDirectory: 0.3, read: 0.02 } : NO_FAULTS
    const options = {
      directory: '/spool', bytesMax: this.#bytesMax, segmentBytes: this.#segmentBytes, disk: this.#disk.mount(), logger, nowMs: () => 1
    }
    this.#spool = await openSpool(options).catch(async (error: { code?: string }) => {
      if (!isBadStart || (error.code !== 'VITAL_SPOOL_FAILED' && error.code !== 'VITAL_SPOOL_FULL')) throw error
      this.#disk.faults = NO_FAULTS
      return await openSpool(options)
    })
    this.#firstId = this.#entries.length
    this.#seen = new Set()
    this.#last = -1
    this.#unreleased = []
    this.#inFlight = 0
    if (this.#hasFaults) this.#setFaults()
    for (let step = this.#random.below(80); step > 0; step--) await this.#act()
    if (isLast || this.#random.chance(0.3)) await this.#drain()
    await this.#die(isLast)
    if (this.#failure !== null) throw this.#failure
  }

  #setFaults (): void {
    const some = () => this.#random.pick([0, 0, 0.05, 0.3])
    this.#disk.faults = { write: some(), sync: some(), syncDirectory: some(), read: some() / 4, other: some() / 2 }
    this.#disk.capacityBytes = this.#random.chance(0.3) ? 500 + this.#random.below(4000) : Infinity
    this.#disk.fileBytesMax = this.#random.chance(0.2) ? 300 + this.#random.below(1000) : Infinity
  }

  get #open (): Spool {
    assert.ok(this.#spool !== null)
    return this.#spool
  }

  async #act (): Promise<void> {
    const roll = this.#random.next()
    if (roll < 0.4) this.#append()
    else if (roll < 0.7) await this.#read()
    else if (roll < 0.78) this.#release()
    else if (roll < 0.82) await this.#open.probe()
    else if (roll < 0.84 && this.#hasFaults) this.#setFaults()
    else await this.#wait(this.#random.below(30))
    assert.ok(this.#open.bytes <= this.#bytesMax || this.#hasFaults, 'the cap holds')
  }

  #append (): void {
    const id = this.#entries.length
    const payload = Buffer.concat([Buffer.from(`${id}:`), this.#random.bytes(this.#random.below(this.#random.pick([10, 300, 1500])))])
    const entry: Entry = { payload, readings: this.#random.below(5), state: 'waiting', release: 'none' }
    this.#entries.push(entry)
    const spool = this.#begin()
    spool.append(payload, entry.readings).then(() => {
      if (spool === this.#spool) entry.state = 'acknowledged'
    }, (error: unknown) => {
      if (spool !== this.#spool) return
      entry.state = 'rejected'
      this.#rejected++
      this.#expectCode(error)
    }).finally(() => { this.#end(spool) })
  }

  /** @returns whether there was something */
  async #read (): Promise<boolean> {
    let record
    try {
      record = await this.#open.read()
    } catch (error) {
      this.#expectCode(error)
      return true
    }
    if (record === null) return false
    this.#reads++
    const id = Number.parseInt(record.payload.toString('latin1', 0, 12), 10)
    const entry = this.#entries[id]
    assert.ok(entry !== undefined && entry.payload.equals(record.payload), 'only appended records are read')
    assert.ok(id > this.#last, `record ${id} comes after ${this.#last}`)
    assert.notEqual(entry.state, 'rejected', `record ${id} was rejected in this life`)
    assert.equal(record.position.readings, entry.readings)
    assert.equal(record.position.isFound, id < this.#firstId, 'records found at the open are marked as found')
    // A damaged cursor, or one that could not be read at the open, brings released records back. Replay tolerates that.
    if (this.#flips === 0 && !this.#hadBadStart) assert.notEqual(entry.release, 'done', `record ${id} was released`)
    this.#last = id
    this.#seen.add(id)
    this.#unreleased.push({ id, position: record.position })
    return true
  }

  #release (): void {
    if (this.#unreleased.length === 0) return
    const count = 1 + this.#random.below(this.#unreleased.length)
    const released = this.#unreleased.splice(0, count)
    for (const { id } of released) this.#entries[id]!.release = 'asked'
    const spool = this.#begin()
    spool.release(released.at(-1)!.position).then(() => {
      // A dead process answers no client.
      if (spool !== this.#spool) return
      for (let id = 0; id <= released.at(-1)!.id; id++) {
        const entry = this.#entries[id]!
        if (entry.release === 'asked') entry.release = 'done'
      }
    }, (error: unknown) => { this.#expectCode(error) }).finally(() => { this.#end(spool) })
  }

  /** Reads to the end on a healthy disk, and checks that every acknowledged record has come. */
  async #drain (): Promise<void> {
    this.#disk.faults = NO_FAULTS
    this.#disk.capacityBytes = Infinity
    this.#disk.fileBytesMax = Infinity
    while (this.#inFlight > 0) await this.#wait(10)
    while (await this.#read());
    for (const [id, entry] of this.#entries.entries()) {
      if (entry.state !== 'acknowledged' || entry.release !== 'none' || this.#seen.has(id)) continue
      this.#missing.add(id)
    }
    assert.ok(this.#missing.size <= this.#flips, `lost: ${[...this.#missing].join()} after ${this.#flips} flips`)
    if (this.#flips === 0) assert.equal(this.#open.records, this.#unreleased.length, 'records are counted')
    const readings = this.#unreleased.reduce((sum, { id }) => sum + this.#entries[id]!.readings, 0)
    if (this.#flips === 0) assert.equal(this.#open.readings, readings, 'readings are counted')
    assert.equal(this.#open.isEmpty, this.#unreleased.length === 0, 'empty when all is released')
    if (this.#random.chance(0.5)) return
    this.#release()
    while (this.#inFlight > 0) await this.#wait(10)
    if (this.#unreleased.length > 0) return
    assert.ok(this.#open.isEmpty)
    assert.equal(this.#open.records, 0)
    assert.equal(this.#open.readings, 0)
    assert.equal(this.#open.oldestAtMs, null)
    assert.ok(await this.#open.probe(), 'there is room again')
  }

  async #die (isLast: boolean): Promise<void> {
    this.#stretches += this.#open.damage.stretches
    const end = isLast ? 'close' : this.#random.pick(['kill', 'kill', 'power', 'power', 'close'] as const)
    if (end === 'close') {
      await this.#open.close()
      assert.equal(this.#disk.openFiles, 0, 'every file is closed')
    }
    if (end === 'kill') this.#disk.kill()
    if (end === 'power' || (end === 'close' && this.#random.chance(0.3))) this.#disk.cutPower()
    this.#spool = null
    // Operations of the dead process never settle. They may or may not have happened.
    for (const entry of this.#entries) {
      if (entry.state === 'waiting' || entry.state === 'rejected') entry.state = 'unknown'
    }
    this.#disk.capacityBytes = Infinity
    if (end !== 'power') return
    while (this.#flipsLeft > 0 && this.#random.chance(0.5)) {
      this.#flipsLeft--
      if (this.#disk.flipBit() !== null) this.#flips++
    }
  }

  #begin (): Spool {
    this.#inFlight++
    return this.#open
  }

  #end (spool: Spool): void {
    if (spool === this.#spool) this.#inFlight--
  }

  #expectCode (error: unknown): void {
    const { code } = error as { code?: string }
    if (this.#spool !== null && code !== 'VITAL_SPOOL_FULL' && code !== 'VITAL_SPOOL_FAILED') this.#failure ??= error as Error
  }

  async #wait (ticks: number): Promise<void> {
    for (let tick = 0; tick < ticks; tick++) await Promise.resolve()
  }
}
