/** Files of a lake, as the store lists them. */
import type { ObjectStore, StoredObject } from './object-store.ts'
import { type LakeFile, parseFileKey } from './plan.ts'

type Lister = Pick<ObjectStore, 'list'>

/** A file of the lake, as it was listed. */
export type ListedFile = LakeFile & StoredObject

/** Days in the form of keys, such as 2026-01-31. */
export interface DayRange {
  /** Only this day; `null`: all days before `before`. */
  readonly day: string | null
  readonly before: string
}

/** All files of the partition and hour of a file, in the order of their offsets. */
export async function listAgain (store: Lister, { key, firstOffset }: LakeFile): Promise<ListedFile[]> {
  const files: ListedFile[] = []
  for await (const file of listFiles(store, key.slice(0, -`${firstOffset}.parquet`.length))) files.push(file)
  return files.sort((a, b) => a.firstOffset - b.firstOffset)
}

async function * listFiles (store: Lister, start: string): AsyncGenerator<ListedFile> {
  for await (const object of store.list(start)) {
    const file = parseFileKey(object.key)
    if (file !== null) yield { ...object, ...file }
  }
}

/** Files of each partition and hour, in the order of their offsets. */
export async function * listHours (store: Lister, { day, before }: DayRange): AsyncGenerator<ListedFile[]> {
  let [hour, files]: [number, ListedFile[]] = [-1, []]
  for await (const file of listFiles(store, day === null ? 'day=' : `day=${day}/`)) {
    if (file.key >= `day=${before}`) break
    if (file.hour !== hour) {
      yield * toPartitions(files);
      [hour, files] = [file.hour, []]
    }
    files.push(file)
  }
  yield * toPartitions(files)
}

/** @param files - of one hour */
function toPartitions (files: readonly ListedFile[]): ListedFile[][] {
  const partitions = new Map<string, ListedFile[]>()
  for (const file of files) {
    const key = `${file.topicId}-${file.partition}`
    const found = partitions.get(key)
    if (found === undefined) partitions.set(key, [file])
    else found.push(file)
  }
  return [...partitions.values()].map((found) => found.sort((a, b) => a.firstOffset - b.firstOffset))
}

/**
 * @param files - of one partition and hour, in the order of their offsets
 * @returns sets of files, each to be joined into one
 */
export function toSets<File extends Pick<ListedFile, 'bytes'>> (
  files: readonly File[], { bytesMax, filesMax }: { readonly bytesMax: number, readonly filesMax: number }
): File[][] {
  const sets: File[][] = []
  let [set, bytes]: [File[], number] = [[], 0]
  for (const file of files) {
    if (set.length > 0 && (bytes + file.bytes > bytesMax || set.length === filesMax)) {
      sets.push(set);
      [set, bytes] = [[], 0]
    }
    set.push(file)
    bytes += file.bytes
  }
  sets.push(set)
  return sets.filter(({ length }) => length > 1)
}
