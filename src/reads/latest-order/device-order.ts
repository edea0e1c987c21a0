/**
 * The position of each device on the sorted pages, in memory: the columns of `latest` without the vitals.
 *
 * Columns by slot; the last device takes the slot of one that is removed, so that the slots in use have no gaps.
 * Readings are merged as the upsert of `latest` does: of each field the value with the newest time counts, of two at
 * the same time the larger one.
 *
 * A row that was read from `latest` replaces the values here, so that changes by hand are taken in. If a reading of the
 * device was observed since the read began, it may be newer than the row, so both are merged. `begin()` gives each read
 * its moment, and each slot keeps the moment in which it was last observed.
 */
import { randomBytes } from 'node:crypto'
import { toEffectiveUs } from '../../../db/effective-time.ts'
import type { OrderKeys } from '../../../db/queries/resource-columns.ts'
import type { ReadingRow } from '../../../db/rows.ts'
import { type OrderSearch, type PickedPage, pickPage, SORTED_COLUMNS } from './pick-page.ts'
import { UNRANKED } from './select-slots.ts'

const SLOTS_MIN = 1024
const NEVER = -Infinity

/** Columns that a device's slot has, each a number. Times are Unix microseconds. */
const COLUMNS = [
  'times', 'heartRates', 'heartTimes', 'breathRates', 'breathOrders', 'moments',
  'timeMoves', 'heartMoves', 'breathMoves'
] as const
type Column = typeof COLUMNS[number]

/**
 * The order in which values of the breath rate replace each other: by time, and at the same time `breathRateValue`
 * stands above `breathValue`, its older name. Exact until the year 2112.
 */
const toBreathOrder = (timeUs: number, isOlderName: boolean) => timeUs * 2 + (isOlderName ? 0 : 1)

export class DeviceOrder {
  readonly #devicesMax: number
  readonly #slots = new Map<string, number>()
  readonly #devices: string[] = []
  #columns = createColumns(SLOTS_MIN)
  #ranks = new Uint32Array(SLOTS_MIN)
  /** As many values, all the same, for pages by id; made when first asked for. */
  #equal = new Float64Array(0)
  #unranked = 0
  #silent = 0
  /** Ranks of the round of loading that is under way. */
  #nextRanks = new Uint32Array(SLOTS_MIN)
  #moment = 0
  /**
   * Device → moment of its removal, since the round began. A read that began before the removal may still hold the
   * device.
   */
  readonly #removed = new Map<string, number>()
  #isFull = false
  #id = createId()

  /** @param devicesMax - beyond, the order empties itself and takes nothing more until `clear` */
  constructor ({ devicesMax }: { devicesMax: number }) {
    this.#devicesMax = devicesMax
  }

  get size (): number {
    return this.#devices.length
  }

  /** Devices that came since the last ranking; among them ties are broken by their ids, which is slow. */
  get unranked (): number {
    return this.#unranked
  }

  /** Devices that were silent when the last ranking finished. */
  get silent (): number {
    return this.#silent
  }

  get isFull (): boolean {
    return this.#isFull
  }

  /** Changes with each `clear`: moments from before cannot be compared with later ones. */
  get id (): string {
    return this.#id
  }

  /** Removes all devices. */
  clear (): void {
    this.#slots.clear()
    this.#devices.length = 0
    this.#columns = createColumns(SLOTS_MIN)
    this.#ranks = new Uint32Array(SLOTS_MIN)
    this.#nextRanks = new Uint32Array(SLOTS_MIN)
    this.#equal = new Float64Array(0)
    this.#unranked = 0
    this.#silent = 0
    this.#isFull = false
    this.#id = createId()
  }

  /** Removes all devices, and takes no more until it is cleared. */
  close (): void {
    this.clear()
    this.#isFull = true
  }

  /** Takes in committed readings. */
  observe (rows: readonly ReadingRow[]): void {
    for (const row of rows) {
      const { device, fields } = row
      const timeUs = toEffectiveUs(row)
      const slot = this.#slots.get(device) ?? this.#add(device)
      if (slot === -1) return
      this.#columns.moments[slot] = this.#moment
      this.#mergeTime(slot, timeUs)
      const { heartRateValue, breathValue, breathRateValue } = fields
      if (typeof heartRateValue === 'number') this.#mergeHeart(slot, heartRateValue, timeUs)
      if (typeof breathValue === 'number') this.#mergeBreath(slot, breathValue, toBreathOrder(timeUs, true))
      if (typeof breathRateValue === 'number') this.#mergeBreath(slot, breathRateValue, toBreathOrder(timeUs, false))
    }
  }

  /** A read of `latest` begins. @returns its moment */
  begin (): number {
    return ++this.#moment
  }

  /** Takes in a row of `latest`. @param moment - of the read */
  take (row: OrderKeys, moment: number): void {
    if (this.#removed.size > 0 && moment <= (this.#removed.get(row.device) ?? NEVER)) return
    const known = this.#slots.get(row.device)
    const slot = known ?? this.#add(row.device)
    if (slot === -1) return
    const before = SORTED_COLUMNS.map(([values, moves]) =>
      [this.#columns[values][slot]!, this.#columns[moves][slot]!] as const)
    if (known === undefined || this.#columns.moments[slot]! < moment) this.#empty(slot)
    this.#mergeTime(slot, toMicroseconds(row.time))
    const { heartRate, heartRateTime, breathRate, breathRateTime, breathValueTime } = row
    if (heartRate !== null) this.#mergeHeart(slot, heartRate, toMicroseconds(heartRateTime))
    if (breathRate !== null) {
      const isOlderName = breathValueTime !== null && breathValueTime > (breathRateTime ?? NEVER)
      this.#mergeBreath(slot, breathRate, toBreathOrder(toMicroseconds(isOlderName
        ? breathValueTime
        : breathRateTime), isOlderName))
    }
    this.#keepMoves(slot, before)
  }

  /** {@link take} for a known device only: one that was removed meanwhile does not come back. */
  correct (row: OrderKeys, moment: number): void {
    if (this.#slots.has(row.device)) this.take(row, moment)
  }

  /** `latest` has no row of the device. @param moment - of the read that found none */
  miss (device: string, moment: number): void {
    const slot = this.#slots.get(device)
    if (slot !== undefined && this.#columns.moments[slot]! < moment) this.#remove(slot)
  }

  /** Removes a device and everything observed of it, also from reads that are under way. */
  remove (device: string): void {
    this.#removed.set(device, this.#moment)
    const slot = this.#slots.get(device)
    if (slot !== undefined) this.#remove(slot)
  }

  /** A round of loading begins, which ranks the devices anew. */
  startRanking (): void {
    this.#nextRanks.fill(UNRANKED)
    this.#removed.clear()
  }

  /** @param rank - ascends with the device ids */
  rank (device: string, rank: number): void {
    const slot = this.#slots.get(device)
    if (slot !== undefined) this.#nextRanks[slot] = rank
  }

  /**
   * The round has read all of `latest`. A device that was not ranked is removed, unless it was observed since `moment`,
   * when the round began. The silent ones among the others are counted.
   * @param silentSinceUs - a device without a newer reading is silent
   */
  finishRanking (moment: number, silentSinceUs: number): void {
    let unranked = 0
    for (let slot = this.size - 1; slot >= 0; slot--) {
      if (this.#nextRanks[slot] !== UNRANKED) continue
      if (this.#columns.moments[slot]! < moment) this.#remove(slot)
      else unranked++
    }
    const ranks = this.#ranks
    this.#ranks = this.#nextRanks
    this.#nextRanks = ranks
    this.#unranked = unranked
    let silent = 0
    for (let slot = 0; slot < this.size; slot++) if (this.#columns.times[slot]! <= silentSinceUs) silent++
    this.#silent = silent
  }

  /** @see pickPage */
  pick (search: OrderSearch): PickedPage | null {
    if (search.sortBy === 'deviceId' && this.#equal.length < this.#ranks.length) {
      this.#equal = new Float64Array(this.#ranks.length)
    }
    return pickPage({
      devices: this.#devices, ranks: this.#ranks, columns: this.#columns, equal: this.#equal, size: this.size
    }, search)
  }

  #mergeTime (slot: number, timeUs: number): void {
    const { times, timeMoves } = this.#columns
    if (timeUs <= times[slot]!) return
    times[slot] = timeUs
    timeMoves[slot] = this.#moment
  }

  #mergeHeart (slot: number, value: number, timeUs: number): void {
    const { heartRates, heartTimes, heartMoves } = this.#columns
    if (timeUs < heartTimes[slot]! || (timeUs === heartTimes[slot]! && value < heartRates[slot]!)) return
    if (value !== heartRates[slot]) heartMoves[slot] = this.#moment
    heartRates[slot] = value
    heartTimes[slot] = timeUs
  }

  #mergeBreath (slot: number, value: number, order: number): void {
    const { breathRates, breathOrders, breathMoves } = this.#columns
    if (order < breathOrders[slot]! || (order === breathOrders[slot]! && value < breathRates[slot]!)) return
    if (value !== breathRates[slot]) breathMoves[slot] = this.#moment
    breathRates[slot] = value
    breathOrders[slot] = order
  }

  /** @returns its slot, or -1 without room for it */
  #add (device: string): number {
    if (this.#isFull) return -1
    const slot = this.size
    if (slot >= this.#devicesMax) {
      this.close()
      return -1
    }
    if (slot >= this.#ranks.length) this.#grow()
    // A copy: an id that was cut from a topic or a payload would keep all of it in memory.
    const id = Buffer.from(device).toString()
    this.#slots.set(id, slot)
    this.#devices.push(id)
    this.#empty(slot)
    this.#columns.moments[slot] = 0
    for (const [, moves] of SORTED_COLUMNS) this.#columns[moves][slot] = this.#moment
    this.#ranks[slot] = UNRANKED
    this.#nextRanks[slot] = UNRANKED
    this.#unranked++
    return slot
  }

  #remove (slot: number): void {
    if (this.#ranks[slot] === UNRANKED) this.#unranked--
    this.#slots.delete(this.#devices[slot]!)
    const lastSlot = this.size - 1
    const last = this.#devices.pop()!
    if (slot === lastSlot) return
    this.#devices[slot] = last
    this.#slots.set(last, slot)
    for (const column of [
      ...Object.values(this.#columns), this.#ranks, this.#nextRanks
    ]) column[slot] = column[lastSlot]!
  }

  /** After a row was taken in: values that it did not change have not moved. @param before - values and their moves */
  #keepMoves (slot: number, before: ReadonlyArray<readonly [value: number, move: number]>): void {
    for (const [index, [values, moves]] of SORTED_COLUMNS.entries()) {
      const [value, move] = before[index]!
      const isSame = Object.is(this.#columns[values][slot]! + 0, value + 0)
      this.#columns[moves][slot] = isSame ? move : this.#moment
    }
  }

  #empty (slot: number): void {
    const { times, heartRates, heartTimes, breathRates, breathOrders } = this.#columns
    times[slot] = NEVER
    heartRates[slot] = NaN
    heartTimes[slot] = NEVER
    breathRates[slot] = NaN
    breathOrders[slot] = NEVER
  }

  #grow (): void {
    const length = Math.min(this.#ranks.length * 2, Math.max(this.#devicesMax, SLOTS_MIN))
    const grown = createColumns(length)
    for (const column of COLUMNS) grown[column].set(this.#columns[column])
    this.#columns = grown
    this.#ranks = growRanks(this.#ranks, length)
    this.#nextRanks = growRanks(this.#nextRanks, length)
  }
}

function createColumns (length: number): Record<Column, Float64Array> {
  return {
    times: new Float64Array(length),
    heartRates: new Float64Array(length),
    heartTimes: new Float64Array(length),
    breathRates: new Float64Array(length),
    breathOrders: new Float64Array(length),
    moments: new Float64Array(length),
    timeMoves: new Float64Array(length),
    heartMoves: new Float64Array(length),
    breathMoves: new Float64Array(length)
  }
}

function createId (): string {
  return randomBytes(6).toString('base64url')
}

function growRanks (ranks: Uint32Array, length: number): Uint32Array<ArrayBuffer> {
  const grown = new Uint32Array(length)
  grown.set(ranks)
  return grown
}

function toMicroseconds (seconds: number | null): number {
  return seconds === null ? NEVER : Math.round(seconds * 1e6)
}
