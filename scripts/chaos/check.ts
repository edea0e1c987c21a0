/**
 * C1, C2 and C3 of the fault matrix: what the publisher knows against what lies in the database.
 * Written without the gateway's own functions: a defect in those must not hide itself.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Entry, LedgerEntries } from './ledger-file.ts'

/** Devices looked at in one query. */
const DEVICES_PER_QUERY = 100
/** Violations told in full; the rest is only counted. */
const TOLD_MAX = 5

export type Query = <Row extends object>(text: string, values?: unknown[]) => Promise<Row[]>

/** A rule that did not hold; `expected` is one of the fault alone. */
export interface Violation {
  readonly checker: 'C1' | 'C2' | 'C3' | 'C4' | 'C5' | 'C6' | 'C7' | 'expected'
  readonly message: string
}

export interface Findings {
  readonly acknowledged: number
  readonly stored: number
  readonly letters: number
  /** Acknowledged, and neither among the readings nor among the dead letters. */
  readonly lost: readonly Entry[]
  readonly duplicated: number
  readonly violations: readonly Violation[]
}

interface StoredRow { readonly device: string, readonly timeUs: string, readonly vitals: Record<string, unknown> }
interface LatestRow extends StoredRow { readonly vitalTimes: Record<string, number> }

/** Gathers violations of one kind and tells the first few. */
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

/**
 * @param query - on the database that the gateway wrote to, when nothing is pending any more
 * @param prefix - of the account's devices: rows of it that the ledger does not know are phantoms
 */
export async function checkStored ({ query, ledger, prefix }: { query: Query, ledger: LedgerEntries, prefix: string }): Promise<Findings> {
  const complaints = new Complaints()
  const lost: Entry[] = []
  const counts = { acknowledged: 0, stored: 0, letters: 0, duplicated: 0 }
  const devices = [...ledger.keys()]
  for (let at = 0; at < devices.length; at += DEVICES_PER_QUERY) {
    const names = devices.slice(at, at + DEVICES_PER_QUERY)
    const rows = groupByDevice(await query<StoredRow>(
      `select device, (extract(epoch from time) * 1000000)::bigint::text as "timeUs", vitals
       from readings where device = any($1)`, [names]))
    const letters = groupByDevice(await query<{ device: string, payload: Buffer }>(
      'select device, payload from dead_letters where device = any($1)', [names]))
    const latest = new Map((await query<LatestRow>(
      `select device, (extract(epoch from time) * 1000000)::bigint::text as "timeUs", vitals, vital_times as "vitalTimes"
       from latest where device = any($1)`, [names])).map((row) => [row.device, row]))
    for (const device of names) {
      const entries = ledger.get(device)!
      const stored = rows.get(device) ?? []
      const found = countStored(entries, stored, complaints)
      const foundLetters = countLetters(entries, letters.get(device) ?? [], complaints)
      counts.stored += stored.length
      counts.letters += letters.get(device)?.length ?? 0
      for (const entry of entries) {
        if (entry === undefined) continue
        const copies = found[entry.n]!
        if (copies > 1) {
          counts.duplicated += copies - 1
          complaints.add('C2', 'a reading is stored more than once', tell(entry))
        }
        if (entry.acknowledgedAtMs === null) continue
        counts.acknowledged++
        if (copies > 0 || foundLetters[entry.n]! > 0) continue
        lost.push(entry)
      }
      checkLatest(device, stored, latest.get(device), complaints)
    }
  }
  const [total] = await query<{ count: string }>(
    'select count(*) from readings where device >= $1 and device < $2', [`${prefix}-`, `${prefix}.`])
  const unknown = Number(total?.count) - counts.stored
  if (unknown !== 0) complaints.add('C2', 'readings of devices that never sent', String(unknown))
  return { ...counts, lost, violations: complaints.end() }
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
function countLetters (entries: ReadonlyArray<Entry | undefined>, rows: ReadonlyArray<{ device: string, payload: Buffer }>, complaints: Complaints): Uint16Array {
  const found = new Uint16Array(entries.length)
  for (const { device, payload } of rows) {
    const n = readNumber(payload)
    const entry = n === null ? undefined : entries[n]
    if (entry === undefined) complaints.add('C2', 'a dead letter that was never sent', `${device} ${payload.toString('utf8', 0, 200)}`)
    else if (entry.kind !== 'letter') complaints.add('C2', 'a valid reading became a dead letter', `${tell(entry)}: ${payload.toString('utf8', 0, 200)}`)
    else if (++found[entry.n]! > entry.resentAtMs.length + 1) complaints.add('C2', 'more dead letters than were sent', tell(entry))
  }
  return found
}

/** The payload need not be JSON, so the number is looked for. */
function readNumber (payload: Buffer): number | null {
  const n = /"n":(\d+)/.exec(payload.toString('utf8'))?.[1]
  return n === undefined ? null : Number(n)
}

/** C3: of each field the value with the newest time; of several at that instant any. */
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
  const model = new Map<string, { timeUs: number, values: unknown[] }>()
  for (const row of rows) {
    const timeUs = Number(row.timeUs)
    newestUs = Math.max(newestUs, timeUs)
    for (const [field, value] of Object.entries(row.vitals)) {
      const known = model.get(field)
      if (known === undefined || timeUs > known.timeUs) model.set(field, { timeUs, values: [value] })
      else if (timeUs === known.timeUs) known.values.push(value)
    }
  }
  if (Number(latest.timeUs) !== newestUs) complaints.add('C3', 'the latest time is another', `${device}: ${latest.timeUs} instead of ${newestUs}`)
  const fields = new Set([...model.keys(), ...Object.keys(latest.vitals)])
  for (const field of fields) {
    const wanted = model.get(field)
    const measuredUs = Math.round((latest.vitalTimes[field] ?? NaN) * 1e6)
    const isRight = wanted !== undefined && measuredUs === wanted.timeUs &&
      wanted.values.some((value) => isDeepStrictEqual(value, latest.vitals[field]))
    if (!isRight) {
      complaints.add('C3', 'a latest value is another',
        `${device} ${field}: ${JSON.stringify(latest.vitals[field])} of ${measuredUs} instead of ${JSON.stringify(wanted)}`)
    }
  }
}

/** Acknowledgements of readings that were sent within a span: C4, and how slow they were. */
export function acknowledgedWithin (ledger: LedgerEntries, sentFromMs: number, sentToMs: number) {
  const delaysMs: number[] = []
  const sent: Entry[] = []
  let slowestMs = -1
  let slowest: Entry | null = null
  for (const entries of ledger.values()) {
    for (const entry of entries) {
      if (entry === undefined || entry.sentAtMs < sentFromMs || entry.sentAtMs > sentToMs) continue
      sent.push(entry)
      if (entry.acknowledgedAtMs === null) continue
      const delayMs = entry.acknowledgedAtMs - entry.sentAtMs
      delaysMs.push(delayMs)
      if (delayMs > slowestMs) {
        slowestMs = delayMs
        slowest = entry
      }
    }
  }
  delaysMs.sort((a, b) => a - b)
  const at = (share: number) => delaysMs[Math.min(delaysMs.length - 1, Math.floor(delaysMs.length * share))] ?? 0
  return { sent, acknowledged: delaysMs.length, p99Ms: at(0.99), slowestMs: delaysMs.at(-1) ?? 0, slowest }
}
