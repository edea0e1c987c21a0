/**
 * Segments of the spool that were replayed and are kept for a while. Kafka acknowledges records that its brokers have
 * only in memory, and loses them if the power of all brokers fails at once.
 *
 *   spool ── replayed ──> kept/ ── Kafka still has all of it, some time later ──> removed
 *                           └───── Kafka has lost some of it ──> read, and appended to the spool again
 *
 * Beside each segment lies a file with the positions that Kafka gave its records. A segment without such a file counts
 * as lost. Writing its readings twice is harmless, because readers recognize them by their identity.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { LogPosition } from '../../../kafka/log-position.ts'
import { parseSegmentName, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES } from './format.ts'
import { type Segment, SegmentReader, type SpoolContext, toSegment } from './segment.ts'

/** Name of the directory within that of the spool. */
export const KEPT_DIRECTORY = 'kept'
const POSITIONS_SUFFIX = '.json'
const WINDOW_BYTES = 1024 * 1024

export interface KeptSegment {
  readonly name: string
  readonly number: number
  readonly bytes: number
  /** Unix milliseconds at which all of it had been replayed. */
  readonly keptAtMs: number
  /** The last position of each partition and leader epoch; `null`: not known. */
  readonly positions: readonly LogPosition[] | null
}

interface KeptOptions extends Omit<SpoolContext, 'kept'> {
  /** Beyond this, the oldest segments are removed, whether or not brokers have them on disk. */
  readonly bytesMax: number
  /** Unix milliseconds. */
  readonly nowMs?: () => number
}

/** The spool must be locked by this process. @throws the error of the file system */
export async function openKeptSegments (options: KeptOptions): Promise<KeptSegments> {
  const { disk, nowMs = Date.now } = options
  const directory = join(options.directory, KEPT_DIRECTORY)
  await disk.makeDirectory(directory)
  const names = (await disk.list(directory)).sort()
  const found: KeptSegment[] = []
  for (const name of names) {
    const parsed = parseSegmentName(name)
    if (parsed === null) continue
    const bytes = await disk.size(join(directory, name))
    found.push({ name, number: parsed.number, bytes, keptAtMs: nowMs(), positions: null, ...await readPositions(directory, name, nowMs()) })
  }
  return new KeptSegments({ ...options, nowMs, directory }, found)
}

export class KeptSegments {
  readonly #options: Required<KeptOptions>
  #kept: KeptSegment[]
  /** Positions in segments that are being replayed, by name of the segment, then by partition and leader epoch. */
  readonly #noted = new Map<string, Map<string, LogPosition>>()
  /** Acknowledged positions that are not yet assigned to a segment. */
  #acknowledged = new Map<string, LogPosition>()
  #givenUp = 0

  constructor (options: Required<KeptOptions>, found: KeptSegment[]) {
    this.#options = options
    this.#kept = found
  }

  /** Oldest first. */
  get all (): readonly KeptSegment[] {
    return this.#kept
  }

  get bytes (): number {
    return this.#kept.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  /** Number of segments that were removed early because there was no room. */
  get givenUp (): number {
    return this.#givenUp
  }

  /** Number of the oldest kept segment; `Infinity`: there is none. */
  get firstNumber (): number {
    return this.#kept[0]?.number ?? Infinity
  }

  /** Number of the newest kept segment; 0: there is none. */
  get lastNumber (): number {
    return this.#kept.at(-1)?.number ?? 0
  }

  /** Notes positions that Kafka acknowledged for the set that is being replayed. */
  acknowledge (positions: readonly LogPosition[]): void {
    for (const position of positions) noteLast(this.#acknowledged, position)
  }

  /** Notes that the set is in Kafka. @param segments - names of the segments that its records are from */
  readonly replayed = (segments: Iterable<string>): void => {
    const positions = this.#acknowledged
    this.#acknowledged = new Map()
    for (const name of segments) {
      const noted = this.#noted.get(name) ?? new Map<string, LogPosition>()
      this.#noted.set(name, noted)
      for (const position of positions.values()) noteLast(noted, position)
    }
  }

  /**
   * Moves a replayed segment of the spool here.
   * @throws the error of the file system; then the segment was not moved
   */
  async keep ({ name, path, number, bytes, start }: Segment): Promise<void> {
    const { disk, directory, nowMs } = this.#options
    // The positions of records that were replayed before a restart are not known.
    const noted = start > SEGMENT_HEADER_BYTES ? undefined : this.#noted.get(name)
    const kept: KeptSegment = { name, number, bytes, keptAtMs: nowMs(), positions: noted === undefined ? null : [...noted.values()] }
    await disk.rename(path, join(directory, name))
    this.#noted.delete(name)
    this.#kept.push(kept)
    await this.#writePositions(kept)
    while (this.bytes > this.#options.bytesMax) await this.#giveUp(this.#kept[0]!)
  }

  /** Settles when the segment is removed, or could not be and that was logged. */
  async remove (segment: KeptSegment): Promise<void> {
    const { disk, directory, logger } = this.#options
    for (const name of [segment.name, segment.name + POSITIONS_SUFFIX]) {
      await disk.unlink(join(directory, name)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') logger.warn({ err: error, segment: name }, 'a kept segment of the spool could not be removed')
      })
    }
    this.#kept = this.#kept.filter((other) => other !== segment)
  }

  /** Payloads of the segment's records, as they were appended. Damaged records are logged and skipped. */
  async * read ({ name, number, bytes }: KeptSegment): AsyncGenerator<Buffer> {
    const { disk, directory, logger } = this.#options
    const { marker } = parseSegmentName(name)!
    const segment = toSegment(directory, { number, name, marker, start: SEGMENT_HEADER_BYTES, end: bytes, isFound: true })
    const reader = await SegmentReader.open(disk, segment, WINDOW_BYTES)
    try {
      for (let offset = segment.start; ;) {
        const found = await reader.find(offset)
        if (found.kind === 'end') return
        const payload = found.kind === 'record'
          ? await reader.bytes(offset + RECORD_HEADER_BYTES, found.header.length)
          : null
        if (payload !== null && found.kind === 'record' && crc32(payload) === found.header.crc) yield Buffer.from(payload)
        else logger.error({ segment: name, offset, bytes: found.end - offset }, 'damaged bytes of a kept segment were skipped')
        offset = found.end
      }
    } finally {
      await reader.close()
    }
  }

  async #giveUp (oldest: KeptSegment): Promise<void> {
    if (this.#givenUp++ === 0) {
      this.#options.logger.warn({ bytes: this.bytes, bytesMax: this.#options.bytesMax },
        'replayed readings are kept for less than VITAL_SPOOL_KEEP_S: they may take a quarter of VITAL_SPOOL_BYTES_MAX at most')
    }
    await this.remove(oldest)
  }

  async #writePositions ({ name, keptAtMs, positions }: KeptSegment): Promise<void> {
    const { disk, directory, logger } = this.#options
    if (positions === null) return
    try {
      const file = await disk.create(join(directory, name + POSITIONS_SUFFIX))
      await file.write([Buffer.from(JSON.stringify({ keptAtMs, positions }))], 0)
      await file.close()
    } catch (error) {
      logger.warn({ err: error, segment: name }, 'the positions of a kept segment could not be written; a restart replays it again')
    }
  }
}

/** Keeps the last position of each partition and leader epoch. */
function noteLast (last: Map<string, LogPosition>, position: LogPosition): void {
  const key = `${position.topicId} ${position.partition} ${position.leaderEpoch}`
  if (position.offset >= (last.get(key)?.offset ?? -1)) last.set(key, position)
}

/** @returns an empty object if the positions are not known */
async function readPositions (
  directory: string, name: string, nowMs: number
): Promise<Partial<Pick<KeptSegment, 'keptAtMs' | 'positions'>>> {
  try {
    const { keptAtMs, positions } = JSON.parse(await readFile(join(directory, name + POSITIONS_SUFFIX), 'utf8')) as KeptSegment
    // A clock that was set back must not keep the segment for longer.
    return { keptAtMs: Math.min(keptAtMs, nowMs), positions }
  } catch {
    return {}
  }
}
