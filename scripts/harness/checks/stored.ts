/**
 * C1, C2 and C3 of the fault matrix: compares the publisher's ledger with the rows of the database.
 * Written without the gateway's own functions: a defect in those must not hide itself.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Entry, LedgerEntries } from './ledger-file.ts'
import { WAVEFORM_FIELD } from '../devices/made-up-reading.ts'
import { Span, type SpanFigures } from './span.ts'

/** Readings per query, or one device: pg holds a whole result in memory, some 1,000 bytes a row. */
const ENTRIES_PER_QUERY_MAX = 100_000
/** Losses kept in memory, so that a run that lost millions can still report them. */
const LOST_KEPT_MAX = 100_000
/** Violations listed in full; further ones are only counted. */
const TOLD_MAX = 5

export type Query = <Row extends object>(text: string, values?: unknown[]) => Promise<Row[]>

/** A rule that did not hold; `expected` is a rule of the fault alone. */
export interface Violation {
  readonly checker: 'C1' | 'C2' | 'C3' | 'C4' | 'C5' | 'C6' | 'C7' | 'C8' | 'C9' | 'C10' | 'expected'
  readonly message: string
}

export interface Findings {
  readonly acknowledged: number
  readonly stored: number
  readonly letters: number
  /** Acknowledged, and neither among the readings nor among the dead letters; the first {@link LOST_KEPT_MAX}. */
  readonly lost: readonly Entry[]
  readonly lostCount: number
  /** Readings that the fault may lose; not among the lost. */
  readonly lostToDamage: number
  readonly duplicated: number
  readonly violations: readonly Violation[]
}

interface StateRow { readonly device: string, readonly timeUs: string, readonly vitals: Record<string, unknown> }
interface StoredRow extends StateRow { readonly receivedUs: string }
interface LetterRow { readonly device: string, readonly payload: Buffer }
interface LatestRow extends StateRow { readonly vitalTimes: Record<string, number> }

/** Gathers violations of one kind and lists the first few. */
class Complaints {
  readonly violations: Violation[] = []
  readonly #counts = new Map<string, number>()

  add (checker: Violation['checker'], what: string, example: string): void {
    const count = (this.#counts.get(what) ?? 0) + 1
    this.#counts.set(what, count)
    if (count <= TOLD_MAX) this.violations.push({ checker, message: `${what}: ${example}` })
  }

  end (): Violation[] {
    for (const [what, count] of this.#counts) {
      if (count > TOLD_MAX) {
        const { checker } = this.violations.find(({ message }) => message.startsWith(`${what}:`))!
        this.violations.push({ checker, message: `${what}: ${count} in all` })
      }
    }
    return this.violations
  }
}

export interface StoredCheckOptions {
  /** Queries the database that the gateway wrote to, once nothing is pending. */
  readonly query: Query
  /** Prefix of the account's devices: rows with it that the ledger does not have are phantoms. */
  readonly prefix: string
  /** Readings that the fault may lose: those in damaged records. */
  readonly mayLose?: ((lost: Entry) => boolean) | undefined
}

/** Takes a ledger part by part, so that only one part and the rows of a query are in memory. */
export class StoredCheck {
  readonly #options: StoredCheckOptions
  readonly #complaints = new Complaints()
  readonly #lost: Entry[] = []
  readonly #counts = { acknowledged: 0, stored: 0, letters: 0, duplicated: 0, lostCount: 0, lostToDamage: 0 }

  constructor (options: StoredCheckOptions) {
    this.#options = options
  }

  /** @param part - its devices are in no other */
  async add (part: LedgerEntries): Promise<void> {
    for (const names of toGroups(part)) await this.#addDevices(part, names)
  }

  async end (): Promise<Findings> {
    const { query, prefix } = this.#options
    const [total] = await query<{ count: string }>(
      'select count(*) from readings where device >= $1 and device < $2', [`${prefix}-`, `${prefix}.`])
    const unknown = Number(total?.count) - this.#counts.stored
    if (unknown !== 0) this.#complaints.add('C2', 'readings of devices that never sent', String(unknown))
    return { ...this.#counts, lost: this.#lost, violations: this.#complaints.end() }
  }

  async #addDevices (part: LedgerEntries, names: readonly string[]): Promise<void> {
    const { query } = this.#options
    const rows = groupByDevice(await query<StoredRow>(
      `select device, (extract(epoch from time) * 1000000)::bigint::text as "timeUs", vitals,
         (extract(epoch from received_at) * 1000000)::bigint::text as "receivedUs"
       from readings where device = any($1)`, [names]))
    const letters = groupByDevice(await query<LetterRow>(
      'select device, payload from dead_letters where device = any($1)', [names]))
    const latest = new Map((await query<LatestRow>(
      `select device, (extract(epoch from time) * 1000000)::bigint::text as "timeUs", vitals, vital_times as "vitalTimes"
       from latest where device = any($1)`, [names])).map((row) => [row.device, row]))
    for (const device of names) {
      const stored = rows.get(device) ?? []
      this.#addDevice(part.get(device)!, stored, letters.get(device) ?? [])
      checkLatest(device, stored, latest.get(device), this.#complaints)
    }
  }

  #addDevice (entries: ReadonlyArray<Entry | undefined>, stored: readonly StoredRow[], letters: readonly LetterRow[]): void {
    const counts = this.#counts
    const found = countStored(entries, stored, this.#complaints)
    const foundLetters = countLetters(entries, letters, this.#complaints)
    counts.stored += stored.length
    counts.letters += letters.length
    for (const entry of entries) {
      if (entry === undefined) continue
      const copies = found[entry.n]!
      if (copies > 1) {
        counts.duplicated += copies - 1
        this.#complaints.add('C2', 'a reading is stored more than once', tell(entry))
      }
      if (entry.acknowledgedAtMs === null) continue
      counts.acknowledged++
      if (entry.refusedWith !== null && entry.kind === 'reading') {
        const code = entry.refusedWith.toString(16)
        this.#complaints.add('C1', `a reading that could be stored was refused with 0x${code}, and dropped`, tell(entry))
      }
      if (copies === 0 && foundLetters[entry.n] === 0) this.#lose(entry)
    }
  }

  #lose (entry: Entry): void {
    if (this.#options.mayLose?.(entry) === true) this.#counts.lostToDamage++
    else if (++this.#counts.lostCount <= LOST_KEPT_MAX) this.#lost.push(entry)
  }
}

/** Checks a ledger that is in memory as a whole. */
export async function checkStored ({ ledger, ...options }: StoredCheckOptions & { ledger: LedgerEntries }): Promise<Findings> {
  const check = new StoredCheck(options)
  await check.add(ledger)
  return await check.end()
}

/** @returns devices for one query each: as many as have {@link ENTRIES_PER_QUERY_MAX} entries, and at least one */
function * toGroups (part: LedgerEntries): Generator<string[]> {
  let names: string[] = []
  let count = 0
  for (const [device, { length }] of part) {
    if (names.length > 0 && count + length > ENTRIES_PER_QUERY_MAX) {
      yield names
      names = []
      count = 0
    }
    names.push(device)
    count += length
  }
  if (names.length > 0) yield names
}

export function tell ({ device, n, timeUs, sentAtMs, acknowledgedAtMs, resentAtMs }: Entry): string {
  return `${device} n=${n} time=${timeUs}us sent ${new Date(sentAtMs).toISOString()} (${resentAtMs.length + 1}x), acknowledged ${
    acknowledgedAtMs === null ? 'never' : new Date(acknowledgedAtMs).toISOString()}`
}

function groupByDevice<Row extends { readonly device: string }> (rows: readonly Row[]): Map<string, Row[]> {
  const groups = new Map<string, Row[]>()
  for (const row of rows) {
    const group = groups.get(row.device)
    if (group === undefined) groups.set(row.device, [row])
    else group.push(row)
  }
  return groups
}

/** @returns how often each entry is stored, by `n` */
function countStored (entries: ReadonlyArray<Entry | undefined>, rows: readonly StoredRow[], complaints: Complaints): Uint16Array {
  const found = new Uint16Array(entries.length)
  for (const { device, timeUs, vitals } of rows) {
    const entry = typeof vitals['n'] === 'number' ? entries[vitals['n']] : undefined
    if (entry === undefined) complaints.add('C2', 'a reading that was never sent', `${device} ${timeUs} ${JSON.stringify(vitals)}`)
    else if (entry.kind !== 'reading') complaints.add('C2', 'an invalid reading is stored as a reading', tell(entry))
    else if (Number(timeUs) !== entry.timeUs || !isDeepStrictEqual(vitals, entry.fields)) {
      complaints.add('C2', 'a reading is stored as something else', `${tell(entry)}: ${timeUs} ${JSON.stringify(vitals)}`)
    } else found[entry.n]!++
  }
  return found
}

/** Each receipt of an invalid payload is a dead letter of its own, so one that was sent twice may be there twice. */
function countLetters (entries: ReadonlyArray<Entry | undefined>, rows: readonly LetterRow[], complaints: Complaints): Uint16Array {
  const found = new Uint16Array(entries.length)
  for (const { device, payload } of rows) {
    const n = readNumber(payload)
    const entry = n === null ? undefined : entries[n]
    if (entry === undefined) complaints.add('C2', 'a dead letter that was never sent', `${device} ${payload.toString('utf8', 0, 200)}`)
    else if (entry.kind !== 'letter') {
      complaints.add('C2', 'a valid reading became a dead letter',
      `${tell(entry)}: ${payload.toString('utf8', 0, 200)}`)
    } else if (++found[entry.n]! > entry.resentAtMs.length + 1) complaints.add('C2', 'more dead letters than were sent', tell(entry))
  }
  return found
}

/** The payload need not be JSON, so its text is searched for the number. */
function readNumber (payload: Buffer): number | null {
  const n = /"n":(\d+)/.exec(payload.toString('utf8'))?.[1]
  return n === undefined ? null : Number(n)
}

/** How far a time may be ahead of its receipt and still count. */
const AHEAD_TOLERATED_US = 5e6
const KINDS = ['null', 'string', 'number', 'boolean', 'array', 'object']

/** The order of `db/README.md`; the harness sends no arrays and objects that differ at one instant. */
function isLarger (a: unknown, b: unknown): boolean {
  const [kind, other] = [a, b].map((value) => value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value)
  if (kind !== other) return KINDS.indexOf(kind!) > KINDS.indexOf(other!)
  return typeof a === 'number' ? a > (b as number) : typeof a === 'string' && Buffer.compare(Buffer.from(a), Buffer.from(b as string)) > 0
}

/** C3: of each field the value with the newest time; of several at that instant the largest. */
function checkLatest (device: string, rows: readonly StoredRow[], latest: LatestRow | undefined, complaints: Complaints): void {
  if (rows.length === 0) {
    if (latest !== undefined) complaints.add('C3', 'a latest state without a reading', device)
    return
  }
  if (latest === undefined) {
    complaints.add('C3', 'readings without a latest state', device)
    return
  }
  let newestUs = 0
  const model = new Map<string, { timeUs: number, value: unknown }>()
  for (const row of rows) {
    const receivedUs = Number(row.receivedUs)
    const timeUs = Number(row.timeUs) > receivedUs + AHEAD_TOLERATED_US ? receivedUs : Number(row.timeUs)
    newestUs = Math.max(newestUs, timeUs)
    for (const [field, value] of Object.entries(row.vitals)) {
      const known = model.get(field)
      if (known === undefined || timeUs > known.timeUs || (timeUs === known.timeUs && isLarger(value, known.value))) {
        model.set(field, { timeUs, value })
      }
    }
  }
  if (Number(latest.timeUs) !== newestUs) {
    complaints.add('C3', 'the latest time is another',
    `${device}: ${latest.timeUs} instead of ${newestUs}`)
  }
  // The latest state is bounded: beside a waveform any field may be dropped, and a replay may restore an older value.
  if (model.has(WAVEFORM_FIELD)) return
  const fields = new Set([...model.keys(), ...Object.keys(latest.vitals)])
  for (const field of fields) {
    const wanted = model.get(field)
    const measuredUs = Math.round((latest.vitalTimes[field] ?? NaN) * 1e6)
    const isRight = wanted !== undefined && measuredUs === wanted.timeUs &&
      isDeepStrictEqual(wanted.value, latest.vitals[field])
    if (!isRight) {
      complaints.add('C3', 'a latest value is another',
        `${device} ${field}: ${JSON.stringify(latest.vitals[field])} of ${measuredUs} instead of ${JSON.stringify(wanted)}`)
    }
  }
}

/** A {@link Span} of a ledger that is in memory as a whole. */
export function acknowledgedWithin (ledger: LedgerEntries, sentFromMs: number, sentToMs: number): SpanFigures {
  const span = new Span(sentFromMs, sentToMs)
  span.add(ledger)
  return span.figures()
}
