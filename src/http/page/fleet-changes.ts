/**
 * Changes of the devices in the last seconds, gathered once for all open pages. An MQTT subscription of `vital/+` costs
 * one delivery for each reading and page: ten pages at 5,000 readings/s are 50,000 deliveries a second, which two cores
 * cannot do beside ingest.
 *
 *   durable readings ──> one entry a device ── at most every 900 ms, when a page asks ──> chunk (JSON) ──> kept for 30 s
 *   rejections ────────────────┘                                                              │
 *                                               a page gets the chunks since its last answer <┘
 *
 * The gateway keeps no state of a page: the page sends the position of its last answer. A position that is not known
 * any more is answered with `missed`, and the page reads all devices anew. While no page asks, no change is gathered.
 */
import { randomBytes } from 'node:crypto'
import type { ReadingRow } from '../../../db/rows.ts'
import { VITAL_SIGNS } from '../../../schemas/reading.ts'
import type { Rejection } from '../../../schemas/rejection.ts'

/** Pages that ask within this time share an answer, so that ten pages cost as much as one. */
const SHARED_MS = 900
/** Pages ask every two seconds, and a slow network or a busy browser may take some more. */
const KEPT_MS = 30_000

const FLEET_CHANGES_LIMITS = {
  /** Of one chunk; beyond, pages read all devices anew. An entry takes some 500 bytes. */
  devicesMax: 50_000,
  /** Devices whose newest rejection is in one chunk; fewer are enough to see that a whole fleet is refused. */
  rejectionsMax: 1000,
  /** Of all chunks, in characters: 30 s of 10,000 devices that change each second are 25 million. */
  charactersMax: 32 * 1024 * 1024,
  /** Of the answers that are kept for other pages, all together. */
  answersCharactersMax: 32 * 1024 * 1024
} as const

type Limits = Readonly<Record<keyof typeof FLEET_CHANGES_LIMITS, number>>

/** Readings of one device in one chunk. */
interface Change {
  /** Times of the oldest and the newest of them, Unix seconds. */
  firstS: number
  lastS: number
  count: number
  /** In the order of {@link VITAL_SIGNS}; the newest of each. */
  readonly values: Array<number | null>
  readonly timesS: number[]
}

interface Chunk {
  readonly closedAtMs: number
  /** Elements of JSON arrays, joined by commas. */
  readonly devices: string
  readonly rejections: string
}

interface FleetChangesOptions {
  readonly limits?: Partial<Limits>
  readonly monotonicMs?: () => number
}

export function createFleetChanges ({ limits: given = {}, monotonicMs = () => performance.now() }: FleetChangesOptions = {}) {
  const limits: Limits = { ...FLEET_CHANGES_LIMITS, ...given }
  let isOn = false
  let askedAtMs = 0
  let epoch = ''
  /** Number of the chunk that is being gathered. */
  let next = 0
  let begunAtMs = 0
  let isOverfull = false
  const changes = new Map<string, Change>()
  const rejections = new Map<string, Rejection>()
  /** The chunks before `next`, the oldest first. */
  let chunks: Chunk[] = []
  let characters = 0
  const answers = new Answers(limits.answersCharactersMax)

  /** Whether a page has asked lately; otherwise everything is dropped. */
  function isWanted (): boolean {
    if (isOn && monotonicMs() - askedAtMs > KEPT_MS) end()
    return isOn
  }

  function end (): void {
    isOn = false
    drop()
  }

  /** Drops everything gathered so far; earlier positions are unknown from then on. */
  function drop (): void {
    epoch = randomBytes(6).toString('hex')
    chunks = []
    characters = 0
    changes.clear()
    rejections.clear()
    answers.clear()
    isOverfull = false
  }

  function open (device: string, atS: number): Change | null {
    const known = changes.get(device)
    if (known !== undefined) return known
    if (changes.size >= limits.devicesMax) {
      isOverfull = true
      return null
    }
    const change = { firstS: atS, lastS: atS, count: 0, values: VITAL_SIGNS.map(() => null), timesS: VITAL_SIGNS.map(() => -Infinity) }
    changes.set(device, change)
    return change
  }

  function closeChunk (nowMs: number): void {
    begunAtMs = nowMs
    if (isOverfull) return drop()
    answers.clear()
    const chunk: Chunk = {
      closedAtMs: nowMs,
      devices: Array.from(changes, ([device, change]) => toEntry(device, change)).join(),
      rejections: Array.from(rejections, ([device, rejection]) => JSON.stringify({ device, ...rejection })).join()
    }
    changes.clear()
    rejections.clear()
    next++
    chunks.push(chunk)
    characters += sizeOf(chunk)
    const isOld = (kept: Chunk) => nowMs - kept.closedAtMs > KEPT_MS || characters > limits.charactersMax
    while (chunks.length > 0 && isOld(chunks[0]!)) characters -= sizeOf(chunks.shift()!)
  }

  function answerSince (since: number): string {
    const known = answers.find(since)
    if (known !== undefined) return known
    const wanted = chunks.slice(chunks.length - (next - since))
    const join = (part: 'devices' | 'rejections') => wanted.map((chunk) => chunk[part]).filter((text) => text !== '').join()
    return answers.keep(since, `${toHead(false)},"devices":[${join('devices')}],"rejections":[${join('rejections')}]}`)
  }

  const toHead = (isMissed: boolean) =>
    `{"position":"${epoch}-${next}","missed":${isMissed},"fields":${FIELDS}`

  return {
    /** Characters of the answers that are kept. */
    get answersCharacters (): number {
      return answers.characters
    },

    /** Readings of one message that became durable, in PostgreSQL or in the spool. Takes microseconds, never throws. */
    observe (rows: readonly ReadingRow[]): void {
      if (!isWanted()) return
      for (const { device, timeUs, receivedAtMs, fields } of rows) {
        // A time ahead of its receipt counts as of its receipt.
        const atS = Math.min(timeUs / 1e6, receivedAtMs / 1000)
        const change = open(device, atS)
        if (change !== null) add(change, fields, atS)
      }
    },

    /** Something of the device was refused. */
    rejected (device: string, rejection: Rejection): void {
      if (!isWanted()) return
      // The newest ones stay.
      rejections.delete(device)
      rejections.set(device, rejection)
      if (rejections.size > limits.rejectionsMax) rejections.delete(rejections.keys().next().value!)
    },

    /** A device was erased: all that was gathered is dropped. */
    forget: (_device: string): void => { drop() },

    /**
     * The changes since an answer, as JSON.
     * @param position - of that answer; `undefined` for the first one
     */
    since (position: string | undefined): string {
      const nowMs = monotonicMs()
      if (!isWanted()) {
        isOn = true
        drop()
        begunAtMs = nowMs
      }
      askedAtMs = nowMs
      if (nowMs - begunAtMs > SHARED_MS) closeChunk(nowMs)
      const [, ofEpoch, number] = /^(\w+)-(\d{1,15})$/.exec(position ?? '') ?? []
      const since = Number(number)
      const isKnown = ofEpoch === epoch && since <= next && next - since <= chunks.length
      return isKnown ? answerSince(since) : `${toHead(true)},"devices":[],"rejections":[]}`
    }
  }
}

export type FleetChanges = ReturnType<typeof createFleetChanges>

/** Answers by the position that they go on from, for several pages that ask for the same one. The newest stay. */
class Answers {
  readonly #byPosition = new Map<number, string>()
  readonly #charactersMax: number
  characters = 0

  constructor (charactersMax: number) {
    this.#charactersMax = charactersMax
  }

  find (since: number): string | undefined {
    return this.#byPosition.get(since)
  }

  /** @returns the answer */
  keep (since: number, answer: string): string {
    this.#byPosition.set(since, answer)
    this.characters += answer.length
    for (const [position, { length }] of this.#byPosition) {
      if (this.characters <= this.#charactersMax) break
      this.#byPosition.delete(position)
      this.characters -= length
    }
    return answer
  }

  clear (): void {
    this.#byPosition.clear()
    this.characters = 0
  }
}

const FIELDS = JSON.stringify(VITAL_SIGNS)

const sizeOf = ({ devices, rejections }: Chunk): number => devices.length + rejections.length

function add (change: Change, fields: ReadingRow['fields'], atS: number): void {
  change.count++
  if (atS < change.firstS) change.firstS = atS
  if (atS > change.lastS) change.lastS = atS
  for (let index = 0; index < VITAL_SIGNS.length; index++) {
    const value = fields[VITAL_SIGNS[index]!]
    if (typeof value !== 'number' || atS < change.timesS[index]!) continue
    change.values[index] = value
    change.timesS[index] = atS
  }
}

/**
 * Device, times of its oldest and newest reading, number of readings, and the newest values in the order of `fields`.
 * Where one of these is older than the newest reading, the times of all values follow.
 */
function toEntry (device: string, { firstS, lastS, count, values, timesS }: Change): string {
  const times = timesS.some((atS, index) => values[index] !== null && atS !== lastS)
    ? `,[${timesS.map((atS, index) => values[index] === null ? 'null' : atS).join()}]`
    : ''
  return `[${JSON.stringify(device)},${firstS},${lastS},${count},[${values.map((value) => value ?? 'null').join()}]${times}]`
}
