/**
 * The record of erasures, outside of the database and of its backups: restoring a backup would bring back readings that
 * were erased since. `vital-gateway restore` reads it and erases again.
 *
 * A file of lines, one JSON object each, fsynced, never rewritten; readable by its owner alone:
 *
 *   {"act":"begin","id":"6f1c…","device":"ward-3","at":"2026-11-29T09:30:00.000Z","actor":"…"}   before all deletion
 *   {"act":"done","id":"6f1c…","at":"…"}     PostgreSQL holds nothing of it any more, and the spool was drained before
 *   {"act":"failed","id":"6f1c…","at":"…"}   it ended otherwise, or its process did
 *
 * A backup keeps the lines of the moment at which it begins to copy the spool. It reflects every erasure that is done
 * by then. Erasures that were under way then, or that began later, must be done again after a restore. Lines are
 * compared and not times, so no clock matters. An erasure that had failed by then is not repeated; its requester
 * decides.
 */
import { randomUUID } from 'node:crypto'
import { open, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

export const ERASURES_FILE = 'erasures.jsonl'

const ACTS: readonly string[] = ['begin', 'done', 'failed']

interface Line {
  readonly act: 'begin' | 'done' | 'failed'
  readonly id: string
  readonly at: string
  readonly device?: string
  readonly actor?: string
}

/** An erasure on record. */
export interface RecordedErasure {
  readonly id: string
  readonly device: string
  /** ISO 8601. */
  readonly at: string
  readonly outcome: 'open' | 'done' | 'failed'
}

export interface ErasureJournal {
  /**
   * Runs an erasure between its two lines.
   * @throws what `erase` throws; the error of the disk when the first line cannot be made durable, and then `erase` has
   *   not run
   */
  record<Result> (device: string, actor: string, erase: () => Promise<Result>): Promise<Result>
}

/**
 * The journal of a data directory whose spool this process has locked. So an erasure that another process began and did
 * not end has failed. The first erasure creates the file.
 */
export function createErasureJournal (dataDir: string): ErasureJournal {
  const path = join(dataDir, ERASURES_FILE)
  const failed = failOpen(path)
  // Each erasure reports the error.
  failed.catch(() => {})
  return {
    async record (device, actor, erase) {
      await failed
      const id = randomUUID()
      await append(path, { act: 'begin', id, device, at: new Date().toISOString(), actor })
      let act: 'done' | 'failed' = 'failed'
      try {
        const result = await erase()
        act = 'done'
        return result
      } finally {
        await append(path, { act, id, at: new Date().toISOString() })
      }
    }
  }
}

async function failOpen (path: string): Promise<void> {
  for (const { id, outcome } of parseErasures(await readErasures(path))) {
    if (outcome === 'open') await append(path, { act: 'failed', id, at: new Date().toISOString() })
  }
}

/** The complete lines of the file; none without a file. */
export async function readErasures (path: string): Promise<string[]> {
  try {
    return splitLines(await readFile(path, 'utf8'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

export function splitLines (text: string): string[] {
  return text.split('\n').slice(0, -1)
}

/** Erasures in the order in which they began. Torn lines and foreign lines are skipped. */
export function parseErasures (lines: readonly string[]): RecordedErasure[] {
  const found = new Map<string, RecordedErasure>()
  for (const text of lines) {
    const line = parseLine(text)
    if (line === null) continue
    const { act, id, device, at } = line
    if (act === 'begin' && device !== undefined) found.set(id, { id, device, at, outcome: 'open' })
    const begun = found.get(id)
    if (begun !== undefined && act !== 'begin') found.set(id, { ...begun, outcome: act })
  }
  return [...found.values()]
}

/**
 * Devices that have to be erased again after a restore.
 * @param before - the lines that the backup holds
 * @param now - the lines of today
 * @returns devices, each once; `isSameJournal` is false if `now` does not begin with `before`, and then all erasures of
 *   `now` count
 */
export function toErasuresSince (
  before: readonly string[], now: readonly string[]
): { devices: string[], isSameJournal: boolean } {
  const isSameJournal = before.every((line, index) => now[index] === line)
  const known = isSameJournal ? parseErasures(before) : []
  const decided = new Set(known.filter(({ outcome }) => outcome !== 'open').map(({ id }) => id))
  const devices = parseErasures(now).filter(({ id }) => !decided.has(id)).map(({ device }) => device)
  return { devices: [...new Set(devices)], isSameJournal }
}

function parseLine (text: string): Line | null {
  try {
    const line = JSON.parse(text) as Partial<Line> | null
    const isOurs = typeof line?.id === 'string' && typeof line.at === 'string' && ACTS.includes(line.act ?? '')
    return isOurs ? line as Line : null
  } catch {
    return null
  }
}

async function append (path: string, line: Line): Promise<void> {
  const file = await open(path, 'a+', 0o600)
  try {
    const { size } = await file.stat()
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, Math.max(0, size - 1))
    // If a crash tore the last line, this one must not be joined with it.
    const start = size === 0 || buffer[0] === 0x0a ? '' : '\n'
    await file.appendFile(`${start}${JSON.stringify(line)}\n`)
    await file.datasync()
    if (size > 0) return
  } finally {
    await file.close()
  }
  const directory = await open(dirname(path), 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
