/**
 * Joins small files. Readings of one partition and hour are moved into the first of their files, in three steps:
 *
 *   first file      A            A B C        A B C        A B C
 *   second file     B     ──>    B      ──>   (empty) ──>
 *   third file      C            C            (empty)
 *                         join         empty       remove
 *
 * Join: the first file is read, then the others. The first file is replaced only if it is still as it was read
 * (`If-Match`). Readings are identified by their offsets, so that a repeated join adds nothing.
 * Empty: each other file is replaced by an empty one, only if it is still as it was read. This happens after queries
 * have ended that may have read the first file before the join. By then each of its readings is in an earlier file or
 * was erased.
 * Remove: an empty file keeps a lake that was frozen from writing the file again (`If-None-Match`). So it stays until
 * no lake can do that.
 *
 * A reading moves only into an earlier file of its hour. So it is always in some file, even if a process is killed or
 * others join files at the same time. An erasure goes through the files from the last one to the first (erasing.ts).
 * The files are the only state: a compaction lists them and does the step that is due.
 */
import { createHash, randomUUID } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { LakeLimits } from './limits.ts'
import { type DayRange, listAgain, type ListedFile, listHours, toSets } from './listed-files.ts'
import type { ObjectStore } from './object-store.ts'
import type { Plans } from './plans.ts'
import { toCopy, toRows, withPaths } from './parquet.ts'
import type { ReadingsTable } from './readings-table.ts'

/** Files that were joined, or would be. */
export interface Joined {
  readonly hour: number
  readonly partition: number
  readonly topicId: string
  readonly files: number
  readonly bytes: number
  /** `null`: a dry run, which reads nothing. */
  readonly readings: number | null
}

/** The result of a compaction, or of a dry run. */
export interface Compacted {
  readonly joined: readonly Joined[]
  /** Number of files whose readings were moved into an earlier one. */
  readonly emptied: number
  readonly removed: number
  /** Number of empty files that stay for now. */
  readonly left: number
  /** Number of hours of partitions that were given up because other processes kept changing their files. */
  readonly contested: number
}

export interface CompactingOptions {
  readonly store: Pick<ObjectStore, 'list' | 'download' | 'replace' | 'remove' | 'nowMs' | 'refusesOld'>
  readonly plans: Pick<Plans, 'doneMs'>
  readonly table: Pick<ReadingsTable, 'connection' | 'writeEmpty'>
  /** Directory of the table. */
  readonly dir: string
  /** Size of Parquet above which files are not joined. */
  readonly fileBytesMax: number
  /** Longest duration of a query that is sure to find each reading while files are joined. */
  readonly queryMsMax: number
  readonly isDryRun: boolean
  readonly limits: Pick<LakeLimits, 'rowGroupRows' | 'conflictsMax' | 'emptyAgeMs' | 'joinedFilesMax'>
  readonly wait: (ms: number) => Promise<void>
  readonly onJoined: (joined: Joined) => void
}

/** A file whose readings are in an earlier file. */
interface Move {
  readonly file: ListedFile
  readonly etag: string
  /** When the file may be emptied, by `performance.now()`. */
  readonly dueMs: number
}

interface ReadFile extends ListedFile {
  readonly path: string
  readonly rows: number
}

/** The file that replaces files whose readings were moved. */
interface EmptyFile {
  readonly path: string
  readonly bytes: number
  /** ETag as a store without encryption computes it. With other stores an empty file must be read to recognize it. */
  readonly etag: string
}

async function writeEmpty (table: Pick<ReadingsTable, 'writeEmpty'>, path: string): Promise<EmptyFile> {
  await table.writeEmpty(path)
  const content = await readFile(path)
  return { path, bytes: content.length, etag: `"${createHash('md5').update(content).digest('hex')}"` }
}

export function createCompacting (options: CompactingOptions) {
  const { store, plans, table, dir, fileBytesMax, queryMsMax, isDryRun, limits, wait, onJoined } = options
  let empty: EmptyFile
  const joined: Joined[] = []
  const empties = new Map<string, ListedFile>()
  const moves = new Map<string, Move>()
  let [emptied, removed, contested] = [0, 0, 0]

  async function query (sql: string): Promise<number> {
    return Number((await table.connection.runAndReadAll(sql)).getRows()[0]![0])
  }

  const countRows = (paths: readonly string[]) => query(`select count(*) from ${toRows(paths)}`)
  const countOffsets = (paths: readonly string[]) => query(`select count(*) from (select distinct "offset" from ${toRows(paths)})`)

  /** @returns files with readings; `null`: one file no longer exists */
  async function download (files: readonly ListedFile[], paths: readonly string[]): Promise<ReadFile[] | null> {
    const read: ReadFile[] = []
    for (const [index, file] of files.entries()) {
      const path = paths[index]!
      const etag = await store.download(file.key, path)
      if (etag === null) return null
      const rows = await countRows([path])
      if (rows === 0) empties.set(file.key, file)
      else read.push({ ...file, etag, path, rows })
    }
    return read
  }

  /** @returns whether the target was replaced; `false`: it had changed */
  async function replaceTarget (target: ReadFile, files: readonly ReadFile[], rows: number, path: string): Promise<boolean> {
    const paths = files.map((file) => file.path)
    const isOnce = files.reduce((sum, file) => sum + file.rows, 0) === rows
    await table.connection.run(toCopy(`select ${isOnce ? '' : 'distinct on ("offset")'} * from ` +
      `${toRows(paths)}`, path, limits, randomUUID()))
    const { size: bytes } = await stat(path)
    if (!await store.replace(target.key, { path, bytes }, target.etag)) return false
    const { hour, partition, topicId } = target
    const told = { hour, partition, topicId, files: files.length, bytes, readings: rows }
    joined.push(told)
    onJoined(told)
    return true
  }

  /** @returns `false`: another process has changed a file, so everything must be read again */
  async function joinSet (set: readonly ListedFile[]): Promise<boolean> {
    return await withPaths(dir, set.length + 1, async (paths) => {
      const files = await download(set, paths)
      if (files === null) return false
      const [target, ...others] = files
      if (target === undefined || others.length === 0) return true
      const rows = await countOffsets(files.map((file) => file.path))
      if (rows > target.rows && !await replaceTarget(target, files, rows, paths.at(-1)!)) return false
      const dueMs = performance.now() + queryMsMax
      for (const file of others) moves.set(file.key, { file, etag: file.etag, dueMs })
      return true
    })
  }

  /** @param listed - all files of one partition and hour, in the order of their offsets */
  async function joinHour (listed: readonly ListedFile[]): Promise<void> {
    let files = listed
    for (let turn = 0; turn < limits.conflictsMax; turn++) {
      const filled = files.filter((file) => {
        if (file.etag === empty.etag) empties.set(file.key, file)
        return file.etag !== empty.etag
      })
      let isWhole = true
      for (const set of toSets(filled, { bytesMax: fileBytesMax, filesMax: limits.joinedFilesMax })) {
        if (isDryRun) tellSet(set)
        else isWhole = isWhole && await joinSet(set)
      }
      if (isWhole) return
      files = await listAgain(store, files[0]!)
    }
    contested++
  }

  function tellSet (set: readonly ListedFile[]): void {
    const { hour, partition, topicId } = set[0]!
    const told = { hour, partition, topicId, files: set.length, bytes: set.reduce((sum, { bytes }) => sum + bytes, 0), readings: null }
    joined.push(told)
    onJoined(told)
  }

  async function emptyMoved (): Promise<void> {
    for (;;) {
      const [next] = moves.values()
      if (next === undefined) return
      const { file, etag, dueMs } = next
      moves.delete(file.key)
      const waitMs = dueMs - performance.now()
      if (waitMs > 0) await wait(waitMs)
      if (await store.replace(file.key, empty, etag)) {
        emptied++
        empties.set(file.key, { ...file, modifiedMs: store.nowMs() })
      } else await joinHour(await listAgain(store, file))
    }
  }

  async function removeEmpties (): Promise<void> {
    const isOld = (ms: number | null) => ms !== null && store.nowMs() - ms >= limits.emptyAgeMs
    const old = [...empties.values()].filter(({ modifiedMs }) => isOld(modifiedMs))
    if (old.length === 0 || (!isDryRun && !await store.refusesOld())) return
    for (const file of old) {
      if (!isOld(await plans.doneMs(file, file.firstOffset))) continue
      if (!isDryRun) await store.remove(file.key)
      removed++
    }
  }

  return {
    /** @throws errors of the store; a later run continues */
    async compact (range: DayRange): Promise<Compacted> {
      empty = await writeEmpty(table, join(dir, 'empty.parquet'))
      for await (const files of listHours(store, range)) await joinHour(files)
      await emptyMoved()
      await removeEmpties()
      return { joined, emptied, removed, left: empties.size - removed, contested }
    }
  }
}
