/**
 * The publisher's own account, one line an event, in a file that no fault touches:
 *
 *   S device n timestamp kind sentAtMs fields     a reading is about to be written for the first time
 *   D device n atMs                               it is written again
 *   A device n atMs                               its acknowledgement came
 *
 * `n` counts the readings of a device and is one of their fields, so a row of the database can be told from any other.
 */
import { closeSync, createReadStream, openSync, writeSync } from 'node:fs'
import { createInterface } from 'node:readline'

/** Where it must be found once it is acknowledged: among the readings, or among the dead letters. */
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
  /** When it was written again after its first write, Unix milliseconds. */
  resentAtMs: readonly number[]
}

/** Most readings are sent once: they share it. */
const NEVER: readonly number[] = []

/** Device → its entries, by `n`; a number that was never sent is `undefined`. */
export type LedgerEntries = ReadonlyMap<string, ReadonlyArray<Entry | undefined>>

/** What a publisher writes. Lines are gathered until {@link flush}. */
export class LedgerFile {
  readonly #file: number
  #lines = ''

  constructor (path: string) {
    this.#file = openSync(path, 'a')
  }

  sent (device: string, n: number, timestamp: number, kind: Kind, fields: string): void {
    this.#lines += `S ${device} ${n} ${timestamp} ${kind} ${Date.now()} ${fields}\n`
  }

  resent (device: string, n: number): void {
    this.#lines += `D ${device} ${n} ${Date.now()}\n`
  }

  acknowledged (device: string, n: number): void {
    this.#lines += `A ${device} ${n} ${Date.now()}\n`
  }

  flush (): void {
    if (this.#lines === '') return
    const bytes = Buffer.from(this.#lines)
    this.#lines = ''
    for (let at = 0; at < bytes.length;) at += writeSync(this.#file, bytes, at)
  }

  close (): void {
    this.flush()
    closeSync(this.#file)
  }
}

/** @throws on a line that makes no sense: a checker that skipped it would prove nothing */
export async function readLedger (...paths: readonly string[]): Promise<LedgerEntries> {
  const devices = new Map<string, Array<Entry | undefined>>()
  for (const path of paths) await readInto(devices, path)
  return devices
}

async function readInto (devices: Map<string, Array<Entry | undefined>>, path: string): Promise<void> {
  for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Infinity })) {
    const [event, device = '', number, ...rest] = line.split(' ')
    const n = Number(number)
    let entries = devices.get(device)
    if (entries === undefined) devices.set(device, entries = [])
    if (event === 'S') {
      if (entries[n] !== undefined) throw new Error(`the ledger holds reading ${n} of ${device} twice`)
      const [timestamp, kind, sentAtMs, ...fields] = rest
      entries[n] = {
        device,
        n,
        timeUs: Math.round(Number(timestamp) * 1e6),
        kind: kind as Kind,
        fields: JSON.parse(fields.join(' ')) as Record<string, unknown>,
        sentAtMs: Number(sentAtMs),
        acknowledgedAtMs: null,
        resentAtMs: NEVER
      }
      continue
    }
    const entry = entries[n]
    if (entry === undefined || (event !== 'A' && event !== 'D')) throw new Error(`the ledger holds a line that makes no sense: ${line}`)
    if (event === 'D') entry.resentAtMs = [...entry.resentAtMs, Number(rest[0])]
    else entry.acknowledgedAtMs ??= Number(rest[0])
  }
}
