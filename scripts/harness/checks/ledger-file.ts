/**
 * The publisher's own account, one line an event, in files that no fault touches:
 *
 *   S device n timestamp kind sentAtMs fields     a reading is about to be written for the first time
 *   D device n atMs                               it is written again
 *   A device n atMs                               its acknowledgement came
 *   R device n atMs code                          the same with a reason code of 0x80 or more: the device dropped it
 *
 * `n` counts the readings of a device and is one of their fields, so it identifies a row of the database.
 *
 * A ledger is a directory of {@link PARTS} files. All lines of a device are in the same one, which the device's name alone
 * decides: so parts can be read one after another, and two ledgers of the same devices be merged part by part. Half an
 * hour at 5,000 readings a second are some 12 million entries, more than Node's heap holds; of 2.1 million, 300,000 in the
 * fullest part, a pass took 7 s and 340 MiB at its peak.
 */
import { closeSync, createReadStream, mkdirSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'

/** With the 208 devices of `long-outage` the fullest part has 5; each part is a file that the publisher holds open. */
const PARTS = 64
/** One read; smaller ones cost more calls, larger ones gain nothing. */
const CHUNK_BYTES = 1024 * 1024
/** Characters of a line that an error quotes. */
const LINE_TOLD_MAX = 200

/** The table that must have it once it is acknowledged: the readings, or the dead letters. */
export type Kind = 'reading' | 'letter'

export interface Entry {
  readonly device: string
  readonly n: number
  /** Unix microseconds. */
  readonly timeUs: number
  readonly kind: Kind
  /** Without device and timestamp. */
  readonly fields: Readonly<Record<string, unknown>>
  /** Unix milliseconds. */
  readonly sentAtMs: number
  acknowledgedAtMs: number | null
  /** Reason code with which it was acknowledged, where that is 0x80 or more. */
  refusedWith: number | null
  /** When it was written again after its first write, Unix milliseconds. */
  resentAtMs: readonly number[]
}

/** Most readings are sent once: they share it. */
const NEVER: readonly number[] = []

/** Device → its entries, by `n`; a number that was never sent is `undefined`. */
export type LedgerEntries = ReadonlyMap<string, ReadonlyArray<Entry | undefined>>

/** Takes a ledger part by part. */
export interface Measure {
  add (part: LedgerEntries): void
}

/** The ledger that a publisher writes. Lines are gathered until {@link flush}. */
export class LedgerFile {
  readonly #files: readonly number[]
  readonly #lines: string[] = Array.from({ length: PARTS }, () => '')
  readonly #parts = new Map<string, number>()
  #next = 0

  /** @param path - of the directory; existing ledgers are appended to */
  constructor (path: string) {
    mkdirSync(path, { recursive: true })
    this.#files = Array.from({ length: PARTS }, (_, part) => openSync(toPartPath(path, part), 'a'))
  }

  sent (device: string, n: number, timestamp: number, kind: Kind, fields: string): void {
    this.#lines[this.#partOf(device)] += `S ${device} ${n} ${timestamp} ${kind} ${Date.now()} ${fields}\n`
  }

  resent (device: string, n: number): void {
    this.#lines[this.#partOf(device)] += `D ${device} ${n} ${Date.now()}\n`
  }

  acknowledged (device: string, n: number): void {
    this.#lines[this.#partOf(device)] += `A ${device} ${n} ${Date.now()}\n`
  }

  refused (device: string, n: number, code: number): void {
    this.#lines[this.#partOf(device)] += `R ${device} ${n} ${Date.now()} ${code}\n`
  }

  /** Writes one part, with each call the next: the devices' process calls at each tick, and must not pay for all. */
  flush (): void {
    this.#write(this.#next)
    this.#next = (this.#next + 1) % PARTS
  }

  close (): void {
    for (const [part, file] of this.#files.entries()) {
      this.#write(part)
      closeSync(file)
    }
  }

  #write (part: number): void {
    const bytes = Buffer.from(this.#lines[part]!)
    this.#lines[part] = ''
    for (let at = 0; at < bytes.length;) at += writeSync(this.#files[part]!, bytes, at)
  }

  #partOf (device: string): number {
    let part = this.#parts.get(device)
    if (part === undefined) this.#parts.set(device, part = crc32(device) % PARTS)
    return part
  }
}

function toPartPath (path: string, part: number): string {
  return join(path, `part-${part}.txt`)
}

/**
 * Ledgers that were closed, merged: devices are whole within a part, and each is in one part only.
 * @throws on a line that makes no sense: a checker that skipped it would prove nothing
 */
export async function * readParts (...paths: readonly string[]): AsyncGenerator<LedgerEntries> {
  for (let part = 0; part < PARTS; part++) {
    const devices = new Map<string, Array<Entry | undefined>>()
    for (const path of paths) await readInto(devices, toPartPath(path, part))
    yield devices
  }
}

/** All parts at once, of ledgers that are known to be small. */
export async function readLedger (...paths: readonly string[]): Promise<LedgerEntries> {
  const devices = new Map<string, ReadonlyArray<Entry | undefined>>()
  for await (const part of readParts(...paths)) for (const [device, entries] of part) devices.set(device, entries)
  return devices
}

/** Splits lines by hand: 4.2 million of them took 6 to 7 s, and 11 s with `readline` and `split`. */
async function readInto (devices: Map<string, Array<Entry | undefined>>, path: string): Promise<void> {
  let rest = ''
  for await (const chunk of createReadStream(path, { encoding: 'utf8', highWaterMark: CHUNK_BYTES }) as AsyncIterable<string>) {
    const text = rest + chunk
    let from = 0
    for (let to = text.indexOf('\n'); to !== -1; to = text.indexOf('\n', from)) {
      takeLine(devices, text.slice(from, to))
      from = to + 1
    }
    rest = text.slice(from)
  }
  if (rest !== '') takeLine(devices, rest)
}

const LINE = /^([SDAR]) ([^ ]+) (\d+) (\d[^ ]*)(?: (reading|letter) (\d+) (.+)| (\d+))?$/s

function takeLine (devices: Map<string, Array<Entry | undefined>>, line: string): void {
  const [, event, device, number, time, kind, sentAtMs, fields, code] = LINE.exec(line) ?? []
  if (device === undefined || (event === 'S') !== (fields !== undefined) || (event === 'R') !== (code !== undefined)) {
    throw toNonsense(line)
  }
  const n = Number(number)
  let entries = devices.get(device)
  if (entries === undefined) devices.set(device, entries = [])
  const entry = entries[n]
  if (fields !== undefined) {
    if (entry !== undefined) throw new Error(`the ledger holds reading ${n} of ${device} twice`)
    entries[n] = {
      // The device of the first line is shared, because a slice keeps the text in memory that it was cut from.
      device: entries.find((other) => other !== undefined)?.device ?? device,
      n,
      timeUs: Math.round(Number(time) * 1e6),
      kind: kind as Kind,
      fields: JSON.parse(fields) as Record<string, unknown>,
      sentAtMs: Number(sentAtMs),
      acknowledgedAtMs: null,
      refusedWith: null,
      resentAtMs: NEVER
    }
    return
  }
  if (entry === undefined) throw toNonsense(line)
  if (event === 'D') {
    entry.resentAtMs = [...entry.resentAtMs, Number(time)]
    return
  }
  entry.acknowledgedAtMs ??= Number(time)
  if (code !== undefined) entry.refusedWith ??= Number(code)
}

function toNonsense (line: string): Error {
  return new Error(`the ledger holds a line that makes no sense: ${line.slice(0, LINE_TOLD_MAX)}`)
}
