/**
 * A plan decides once which files a range of offsets of a partition becomes. It is put under the key of its first
 * offset with `If-None-Match: *`, before any of its files. If two lakes continue from the same offset, one writes the
 * plan, and the other carries out that plan, even if its own limits differ. A plan begins where the one before it ends,
 * and is put once that one is carried out. So the last plan alone says how far a partition is written.
 *
 *   _plans/TOPIC-PARTITION/9007199254740991-0            offsets 0 to 41,999
 *   _plans/TOPIC-PARTITION/9007199254698991-42000        offsets 42,000 to 77,214; listed first
 *   _plans/TOPIC-PARTITION/9007199254698991-42000.done   it is carried out
 *
 * The first number is the largest possible offset minus the plan's first offset. S3 lists keys in ascending order only,
 * so the last plan is listed first and one request finds it.
 */
import { type Assigned } from '../sink/place.ts'

const HOUR_US = 3_600_000_000
const DIGITS = String(Number.MAX_SAFE_INTEGER).length
const DONE = '.done'

/** An erasure of a device: none of its readings before `offset` may be left. */
export interface PlannedErasure {
  /** UUID of its marker. */
  readonly erasure: string
  readonly device: string
  readonly offset: number
}

export interface Plan extends Assigned {
  readonly topic: string
  readonly firstOffset: number
  readonly lastOffset: number
  /** Leader epoch of the last record; missing in plans of earlier versions. */
  readonly leaderEpoch?: number
  /** Keys of the files that hold its readings, one for each hour. */
  readonly files: readonly string[]
  /** Devices of its readings, by which an erasure finds the hours to rewrite. */
  readonly devices: readonly string[]
  readonly erasures: readonly PlannedErasure[]
}

/** The hour of a reading. @param timeUs - Unix microseconds @returns hours since 1970, UTC */
export const toHour = (timeUs: number): number => Math.floor(timeUs / HOUR_US)

/** Key of the file that holds the readings of one hour of a plan. */
export function toFileKey ({ topicId, partition }: Assigned, firstOffset: number, hour: number): string {
  const [day, time] = new Date(hour * HOUR_US / 1000).toISOString().split('T') as [string, string]
  return `day=${day}/hour=${time.slice(0, 2)}/${topicId}-${partition}-${firstOffset}.parquet`
}

/** The hour of a file, from its key. @returns `null`: it is not a file of a lake */
export function toHourOf (key: string): number | null {
  const [, day, hour] = /^day=(\d{4}-\d\d-\d\d)\/hour=(\d\d)\//.exec(key) ?? []
  const ms = Date.parse(`${day}T${hour}:00:00Z`)
  return Number.isNaN(ms) ? null : ms * 1000 / HOUR_US
}

/** A file, as its key describes it. */
export interface LakeFile extends Assigned {
  readonly key: string
  /** Hours since 1970, UTC. */
  readonly hour: number
  /** First offset of its plan. */
  readonly firstOffset: number
}

/** @returns `null`: it is not the key of a file of a lake */
export function parseFileKey (key: string): LakeFile | null {
  const hour = toHourOf(key)
  const [, topicId, partition, firstOffset] = /\/([^/]+)-(\d+)-(\d+)\.parquet$/.exec(key) ?? []
  if (hour === null || topicId === undefined) return null
  return { key, hour, topicId, partition: Number(partition), firstOffset: Number(firstOffset) }
}

/** Common prefix of the keys of all plans of a partition. */
export const toPlanPrefix = ({ topicId, partition }: Assigned) => `_plans/${topicId}-${partition}/`

/** Key of a plan. */
export function toPlanKey (place: Assigned, firstOffset: number): string {
  const left = String(Number.MAX_SAFE_INTEGER - firstOffset).padStart(DIGITS, '0')
  return `${toPlanPrefix(place)}${left}-${firstOffset}`
}

/** Key of the object that marks a plan as carried out. */
export const toDoneKey = (planKey: string) => `${planKey}${DONE}`

export const isDoneKey = (key: string) => key.endsWith(DONE)

export function toPlanText (plan: Plan): string {
  return JSON.stringify({ schema: 1, ...plan })
}

/** Reads a plan. @throws an error if a newer version or another program wrote it */
export function parsePlan (text: string, key: string): Plan {
  const { schema, ...plan } = JSON.parse(text) as Plan & { readonly schema?: unknown }
  const numbers = [plan.partition, plan.firstOffset, plan.lastOffset, plan.leaderEpoch ?? 0]
  const lists = [plan.files, plan.devices, plan.erasures]
  if (schema !== 1 || !numbers.every(Number.isSafeInteger) || !lists.every(Array.isArray) || plan.lastOffset < plan.firstOffset) {
    throw new Error(`${key} is not a plan that this version can carry out`)
  }
  return plan
}
