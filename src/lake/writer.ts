/**
 * Writes records of Kafka to the store, one plan after the other. Kafka is the buffer: records stay there until the
 * oldest one of a partition is old enough, or there are enough for a file. Then
 *
 *   records ──> table ──> plan ──> files ──> erasures ──> done ──> sink_offsets, which `topics trim` looks at
 *                │          │
 *                │          └── another lake had a plan for this offset: forget everything, and carry out that plan
 *                └── a plan was found when the partition was claimed: carry out that plan, with exactly its offsets
 *
 * Every step may be repeated, also by several lakes: a plan is put once, every lake writes the same files for it, and
 * the first file that is written stays.
 */
import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import type { Logger } from 'pino'
import type { Claim } from '../../db/queries/claim-offset.ts'
import { setOffset } from '../../db/queries/set-offset.ts'
import type { Tables } from '../../db/tables.ts'
import type { SinkPartition } from '../sink/partition.ts'
import { toKey } from '../sink/place.ts'
import type { Storage, Wiring } from '../sink/reader.ts'
import { type Collected, type Collecting, createCollecting } from './collecting.ts'
import { createErasing, type Erasing } from './erasing.ts'
import type { LakeLimits } from './limits.ts'
import { isStoreError, type ObjectStore, toStoreMessage } from './object-store.ts'
import { type Plan, toFileKey, toHourOf } from './plan.ts'
import { createPlanFiles } from './plan-files.ts'
import type { Plans } from './plans.ts'
import { findPlanPosition } from './position.ts'
import type { ReadingsTable } from './readings-table.ts'

const TOLD_EVERY_MS = 10_000

/** Counts since the start. */
export interface LakeStatistics {
  readings: number
  duplicates: number
  files: number
  bytes: number
  plans: number
  rewritten: number
}

export interface LakeWriterOptions extends Wiring {
  readonly store: ObjectStore
  readonly plans: Plans
  readonly table: ReadingsTable
  /** Directory of the table. */
  readonly dir: string
  readonly kysely: Kysely<Tables>
  /** Size of a file of Parquet. */
  readonly fileBytesMax: number
  readonly ageMsMax: number
  readonly limits: LakeLimits
  readonly logger: Logger
}

/** The partition is no longer owned, or the process stops. */
class Abandoned extends Error {}

/** Another lake has carried out the plan. */
class CarriedOut extends Error {}

export class LakeWriter implements Storage {
  readonly statistics: LakeStatistics = { readings: 0, duplicates: 0, files: 0, bytes: 0, plans: 0, rewritten: 0 }
  readonly #options: LakeWriterOptions
  readonly #collecting: Collecting
  readonly #erasing: Erasing
  readonly #files: ReturnType<typeof createPlanFiles>
  readonly #stopping = new AbortController()
  /** Plans that were begun before their partitions were claimed here, by the key of the partition. */
  readonly #begun = new Map<string, Plan>()
  #working: Promise<void> = Promise.resolve()
  #wakes: Array<() => void> = []
  #collected: SinkPartition | null = null
  #isUp = true
  #failures = 0
  #replaced = 0
  #toldAtMs = -Infinity
  #ratio: number

  constructor (options: LakeWriterOptions) {
    this.#options = options
    this.#ratio = options.limits.parquetRatio
    this.#collecting = createCollecting({ ...options, arrival: () => this.#arrival() })
    this.#erasing = createErasing(options)
    this.#files = createPlanFiles(options)
  }

  get isUp (): boolean {
    return this.#isUp
  }

  /** How often another lake had claimed a partition or made a plan for it. */
  get replaced (): number { return this.#replaced }
  get unreadable (): number { return this.#collecting.unreadable }
  get erased (): number { return this.#collecting.erased }

  warnings (): readonly string[] {
    return this.#isUp ? [] : ['the store of VITAL_LAKE_URL, or PostgreSQL, does not answer; records wait in Kafka']
  }

  start (): void {
    this.#working = this.#work()
  }

  wake (): void {
    for (const partition of this.#options.partitions()) {
      // A partition that waits until it is due, or for its turn, is not stuck.
      if (partition !== this.#collected) partition.progressAtMs = performance.now()
    }
    for (const wake of this.#wakes.splice(0)) wake()
  }

  giveUp (): void { /* Records that were taken are still in Kafka. */ }

  async stop (): Promise<void> {
    this.#stopping.abort()
    this.wake()
    this.#options.table.interrupt()
    await this.#working
  }

  /** @throws errors of the store, of PostgreSQL and of Kafka */
  async findPosition ({ place }: SinkPartition, claim: Claim): Promise<Claim> {
    const { plans, kysely, bounds } = this.#options
    await this.#collecting.loadRequests()
    this.#begun.delete(toKey(place))
    const { stored, next, begun } = await findPlanPosition(await plans.latest(place), place, claim, bounds)
    if (begun !== null) this.#begun.set(toKey(place), begun)
    await setOffset(kysely, stored)
    return next
  }

  async #work (): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      const partition = this.#next()
      if (partition === null) {
        await this.#arrival()
        continue
      }
      partition.isBusy = true
      partition.isWaiting = false
      const failure = await this.#carry(partition)
      partition.isBusy = false
      partition.isWaiting = true
      this.#collected = null
      this.#options.onIdle(partition)
      if (failure !== null) await this.#fail(failure)
    }
  }

  #arrival (): Promise<void> {
    return new Promise((resolve) => {
      if (this.#stopping.signal.aborted) resolve()
      else this.#wakes.push(resolve)
    })
  }

  /** The partition to write next: one with a plan that was begun, else the due one that has waited the longest. */
  #next (): SinkPartition | null {
    let next: SinkPartition | null = null
    for (const partition of this.#options.partitions()) {
      if (partition.claim === null || partition.isRevoked || partition.stop !== null) continue
      const oldestMs = partition.oldestMs
      if (this.#begun.has(toKey(partition.place))) return partition
      partition.isWaiting = true
      if (oldestMs === null || !this.#isDue(partition, oldestMs)) continue
      if (next === null || oldestMs < next.oldestMs!) next = partition
    }
    return next
  }

  #isDue (partition: SinkPartition, oldestMs: number): boolean {
    const { ageMsMax } = this.#options
    if (Date.now() - oldestMs >= ageMsMax) return true
    return partition.lag * (partition.bytes / partition.records) >= this.#bytesMax
  }

  /** Size of the records of a plan whose file has about the wanted size. */
  get #bytesMax (): number {
    return Math.min(this.#options.limits.planBytesMax, this.#options.fileBytesMax / this.#ratio)
  }

  /** @returns the error because of which it is not stored; `null`: stored, or left to another lake or the next turn */
  async #carry (partition: SinkPartition): Promise<unknown> {
    const { generation } = partition
    const isAbandoned = () => this.#stopping.signal.aborted || partition.isDropped || partition.generation !== generation
    const begun = this.#begun.get(toKey(partition.place)) ?? null
    this.#collected = partition
    try {
      const collected = await this.#collecting.collect(partition, {
        end: begun === null ? null : begun.lastOffset + 1,
        bytesMax: begun === null ? this.#bytesMax : Infinity,
        untilMs: Math.max(Date.now(), (partition.oldestMs ?? 0) + this.#options.ageMsMax),
        isAbandoned
      })
      this.#collected = null
      if (collected === null || collected.nextOffset === collected.firstOffset) return null
      const plan = begun ?? await this.#plan(partition, collected, isAbandoned)
      if (plan === null) {
        this.#replace(partition, 'another lake has planned this; its plan is carried out')
        return null
      }
      await this.#carryOut(partition, plan, collected, isAbandoned)
      return null
    } catch (error) {
      if (error instanceof Abandoned || isAbandoned()) return null
      if (error instanceof CarriedOut) {
        this.#replace(partition, 'another lake has carried out this plan')
        return null
      }
      // Some of its records may be in the table already, so they are read again.
      this.#options.onReplaced(partition)
      return error
    }
  }

  /** @returns `null`: another plan exists for this offset */
  async #plan (
    { place }: SinkPartition, { firstOffset, nextOffset, leaderEpoch, erasures }: Collected, isAbandoned: () => boolean
  ): Promise<Plan | null> {
    const { table, plans } = this.#options
    const hours = await table.hours()
    const { topic, topicId, partition } = place
    const plan: Plan = {
      topic,
      topicId,
      partition,
      firstOffset,
      lastOffset: nextOffset - 1,
      ...leaderEpoch === null ? {} : { leaderEpoch },
      files: hours.map((hour) => toFileKey(place, firstOffset, hour)),
      devices: [...table.devices].sort(),
      erasures
    }
    return await this.#persist(() => plans.put(plan), isAbandoned) ? plan : null
  }

  async #carryOut (partition: SinkPartition, plan: Plan, { bytes: read }: Collected, isAbandoned: () => boolean): Promise<void> {
    const { table, plans, logger, kysely } = this.#options
    const hours = await table.hours()
    const planned = new Set(plan.files.map(toHourOf))
    const missed = hours.find((hour) => !planned.has(hour))
    if (missed !== undefined) throw new Error(`the plan of offset ${plan.firstOffset} has no file for hour ${missed} of its readings`)
    let [readings, bytes] = [0, 0]
    for (const key of plan.files) {
      const written = await this.#writeFile(plan, key, isAbandoned)
      readings += written.readings
      bytes += written.bytes
    }
    const rewritten: string[] = []
    for (const erasure of plan.erasures) {
      rewritten.push(...await this.#persist(() => this.#erasing.erase(plan, erasure, plan.firstOffset), isAbandoned))
    }
    if (plan.erasures.length > 0) await this.#persist(() => plans.forgetErasures(plan), isAbandoned)
    await this.#persist(() => plans.finish(plan), isAbandoned)
    this.#begun.delete(toKey(partition.place))
    const claim = { ...partition.claim!, nextOffset: plan.lastOffset + 1, leaderEpoch: plan.leaderEpoch ?? null }
    this.#count(plan, { readings, bytes, read, rewritten: rewritten.length })
    logger.info({
      topic: plan.topic,
      partition: plan.partition,
      firstOffset: plan.firstOffset,
      lastOffset: plan.lastOffset,
      readings,
      bytes,
      files: plan.files.length
    }, 'written to the lake')
    const isOurs = await this.#persist(() => setOffset(kysely, claim), isAbandoned)
    if (isOurs) partition.release(0, claim)
    else this.#replace(partition, 'another lake has claimed this partition')
  }

  #replace (partition: SinkPartition, why: string): void {
    this.#options.logger.info({ ...partition.place, offset: partition.storedOffset }, why)
    this.#replaced++
    this.#options.onReplaced(partition)
  }

  async #writeFile (
    plan: Plan, key: string, isAbandoned: () => boolean
  ): Promise<{ readonly readings: number, readonly bytes: number }> {
    const { table, dir } = this.#options
    const path = join(dir, 'hour.parquet')
    const readings = await table.writeHour(toHourOf(key)!, path)
    const { size: bytes } = await stat(path)
    const isOpen = await this.#persist(() => this.#files.put(plan, key, { path, bytes }), isAbandoned)
    await rm(path)
    if (!isOpen) throw new CarriedOut()
    return { readings, bytes }
  }

  #count (plan: Plan, { readings, bytes, read, rewritten }: {
    readonly readings: number
    readonly bytes: number
    readonly read: number
    readonly rewritten: number
  }): void {
    const { statistics } = this
    statistics.readings += readings
    statistics.duplicates += this.#options.table.rows - readings
    statistics.files += plan.files.length
    statistics.bytes += bytes
    statistics.plans++
    statistics.rewritten += rewritten
    // In a small file most bytes are metadata, so it does not count.
    if (bytes > 1024 * 1024) this.#ratio = Math.min(1, Math.max(0.01, (this.#ratio + bytes / read) / 2))
  }

  /** Retries until it succeeds. @throws `Abandoned` once the partition is no longer owned */
  async #persist<Result> (work: () => Promise<Result>, isAbandoned: () => boolean): Promise<Result> {
    for (;;) {
      if (isAbandoned()) throw new Abandoned()
      try {
        const result = await work()
        this.#succeed()
        return result
      } catch (error) {
        if (isAbandoned()) throw new Abandoned()
        await this.#fail(error)
      }
    }
  }

  #succeed (): void {
    if (!this.#isUp) this.#options.logger.info('the store and PostgreSQL answer again')
    this.#isUp = true
    this.#failures = 0
  }

  async #fail (error: unknown): Promise<void> {
    const { limits, logger } = this.#options
    this.#isUp = false
    if (performance.now() - this.#toldAtMs > TOLD_EVERY_MS) {
      this.#toldAtMs = performance.now()
      const reason = isStoreError(error) ? { reason: toStoreMessage(error) } : { err: error }
      logger.error(reason, 'a plan cannot be carried out now; trying again. Its records stay in Kafka')
    }
    const delayMs = Math.min(limits.retryMsMax, limits.retryMsMin * 2 ** this.#failures++)
    await sleep(delayMs, undefined, { signal: this.#stopping.signal }).catch(() => {})
  }
}
