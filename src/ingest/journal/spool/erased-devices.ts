/**
 * The id of the spool, and the devices that were erased while the spool still held readings of theirs.
 *
 * The spool is never rewritten. Each erased device is listed with the number of a segment. Readings of the device in
 * earlier segments were accepted before the gateway read the request to erase it, so they are not replayed. The file
 * lies beside the segments, so that a copy of the directory includes it. It is written before the gateway confirms a
 * request.
 */
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseSegmentName } from './format.ts'
import type { SpoolContext } from './segment.ts'
import { replaceFile } from './upkeep.ts'

export const ERASED_FILE = 'erased.json'

interface Mark {
  readonly device: string
  /** Number of the first segment that may hold new readings of the device. */
  readonly before: number
}

interface Content {
  readonly spool: string
  readonly marks: readonly Mark[]
  /** Missing in files of versions without Kafka. */
  readonly seen?: number
}

const NONE: readonly string[] = []

export class ErasedDevices {
  readonly #context: SpoolContext
  /** UUID of the spool, for the life of its directory. */
  readonly spoolId: string
  #marks: readonly Mark[]
  #seen: number

  constructor (context: SpoolContext, { spool, marks, seen = 0 }: Content) {
    this.#context = context
    this.spoolId = spool
    this.#marks = marks
    this.#seen = seen
  }

  /** Id of the last request that was dealt with; known even if PostgreSQL is away at the start. */
  get seen (): number {
    return this.#seen
  }

  /** Notes that this request was dealt with, so that later records are newer than it. Settles when that is durable. */
  async see (seen: number): Promise<void> {
    if (seen === this.#seen) return
    this.#seen = seen
    await this.#write(this.#marks)
  }

  /** Devices whose readings in a segment are not replayed. */
  of (segment: string): readonly string[] {
    if (this.#marks.length === 0) return NONE
    const { number } = parseSegmentName(segment)!
    return this.#marks.filter(({ before }) => number < before).map(({ device }) => device)
  }

  /**
   * Settles when the marks are durable.
   * @param before - number of the first segment that may hold new readings of the devices
   */
  async add (devices: readonly string[], before: number): Promise<void> {
    await this.#write([...this.#marks.filter(({ device }) => !devices.includes(device)), ...devices.map((device) => ({ device, before }))])
  }

  /** Forgets marks that no segment needs. @param first - number of the oldest segment; `Infinity`: there is none */
  async forget (first: number): Promise<void> {
    const needed = this.#marks.filter(({ before }) => before > first)
    if (needed.length < this.#marks.length) await this.#write(needed)
  }

  async #write (marks: readonly Mark[]): Promise<void> {
    // In force at once. If the write fails, the caller tries again, and does not confirm the request before.
    this.#marks = marks
    await replaceFile(this.#context, ERASED_FILE, toBytes({ spool: this.spoolId, marks, seen: this.#seen }))
  }
}

/** The spool must be locked by this process. @throws the error of the file system */
export async function openErasedDevices (context: SpoolContext): Promise<ErasedDevices> {
  const text = await readFile(join(context.directory, ERASED_FILE), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  const found = text === null ? null : parse(text)
  if (found !== null) return new ErasedDevices(context, found)
  if (text !== null) context.logger.error('the disk damaged the list of erased devices: it is made again from PostgreSQL')
  const content: Content = { spool: randomUUID(), marks: [] }
  await replaceFile(context, ERASED_FILE, toBytes(content))
  return new ErasedDevices(context, content)
}

function parse (text: string): Content | null {
  try {
    return JSON.parse(text) as Content
  } catch {
    return null
  }
}

function toBytes (content: Content): Buffer {
  return Buffer.from(`${JSON.stringify(content)}\n`)
}
