/**
 * Devices that were erased while readings of theirs wait in the spool, and who the spool is.
 *
 * The spool is never rewritten. What lies in its segments before the one that is named with a device was accepted before
 * the gateway read the request to erase it, and is not replayed. The file lies beside the segments, so that a copy of the
 * directory has it; it is written before the gateway confirms a request.
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
  /** Number of the first segment that may hold new readings of it. */
  readonly before: number
}

interface Content {
  readonly spool: string
  readonly marks: readonly Mark[]
  /** Left out by versions without Kafka. */
  readonly seen?: number
}

const NONE: readonly string[] = []

export class ErasedDevices {
  readonly #context: SpoolContext
  /** UUID of the spool, for as long as its directory lives. */
  readonly spoolId: string
  #marks: readonly Mark[]
  #seen: number

  constructor (context: SpoolContext, { spool, marks, seen = 0 }: Content) {
    this.#context = context
    this.spoolId = spool
    this.#marks = marks
    this.#seen = seen
  }

  /** Id of the last request that was dealt with, also where PostgreSQL is away at the start. */
  get seen (): number {
    return this.#seen
  }

  /** What is written from now on is newer than this request. Settles when it is durable. */
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

  /** Settles when it is durable. @param before - number of the first segment that may hold new readings of them */
  async add (devices: readonly string[], before: number): Promise<void> {
    await this.#write([...this.#marks.filter(({ device }) => !devices.includes(device)), ...devices.map((device) => ({ device, before }))])
  }

  /** Forgets what no segment needs. @param first - number of the oldest segment; `Infinity`: there is none */
  async forget (first: number): Promise<void> {
    const needed = this.#marks.filter(({ before }) => before > first)
    if (needed.length < this.#marks.length) await this.#write(needed)
  }

  async #write (marks: readonly Mark[]): Promise<void> {
    // In force at once: a write that fails is tried again, and until then nothing of it is confirmed.
    this.#marks = marks
    await replaceFile(this.#context, ERASED_FILE, toBytes({ spool: this.spoolId, marks, seen: this.#seen }))
  }
}

/** Of a spool that this process has locked. @throws the error of the file system */
export async function openErasedDevices (context: SpoolContext): Promise<ErasedDevices> {
  const text = await readFile(join(context.directory, ERASED_FILE), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  const found = text === null ? null : parse(text)
  if (found !== null) return new ErasedDevices(context, found)
  if (text !== null) context.logger.error('the disk damaged the list of erased devices: it is made anew from PostgreSQL')
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
