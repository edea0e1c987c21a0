/**
 * What one range of offsets of a partition becomes, decided once. A plan is put under the key of its first offset with
 * `If-None-Match: *`, before any of its files: of two lakes that go on from the same offset one writes it, and the other one
 * carries out what the first has decided, with whatever limits. A plan begins where the one before it ends, and is put once
 * that is carried out, so the last plan alone says how far a partition has come.
 *
 *   _plans/TOPIC-PARTITION/9007199254740991-0            offsets 0 to 41,999
 *   _plans/TOPIC-PARTITION/9007199254698991-42000        offsets 42,000 to 77,214; listed first
 *   _plans/TOPIC-PARTITION/9007199254698991-42000.done   it is carried out
 *
 * The first number is what is left to the largest offset, because S3 lists keys in ascending order only: the last plan is the
 * first one of a list, so finding it takes one request.
 */
import { type Assigned } from '../sink/place.ts'

const HOUR_US = 3_600_000_000
const DIGITS = String(Number.MAX_SAFE_INTEGER).length
const DONE = '.done'

/** A device of which nothing may be left that stands before `offset`. */
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
  /** Of the last record, as Kafka counts the leaders of a partition; plans of earlier versions have none. */
  readonly leaderEpoch?: number
  /** Keys of the files that hold its readings, one for each hour. */
  readonly files: readonly string[]
  /** Devices of its readings, so that an erasure finds the hours to look at. */
  readonly devices: readonly string[]
  readonly erasures: readonly PlannedErasure[]
}

/** Of a reading. @param timeUs - Unix microseconds @returns hours since 1970, UTC */
export const toHour = (timeUs: number): number => Math.floor(timeUs / HOUR_US)

/** Key of the file that holds the readings of one hour of a plan. */
export function toFileKey ({ topicId, partition }: Assigned, firstOffset: number, hour: number): string {
  const [day, time] = new Date(hour * HOUR_US / 1000).toISOString().split('T') as [string, string]
  return `day=${day}/hour=${time.slice(0, 2)}/${topicId}-${partition}-${firstOffset}.parquet`
}

/** The hour of a file, by its key. @returns `null`: it is no file of a lake */
export function toHourOf (key: string): number | null {
  const [, day, hour] = /^day=(\d{4}-\d\d-\d\d)\/hour=(\d\d)\//.exec(key) ?? []
  const ms = Date.parse(`${day}T${hour}:00:00Z`)
  return Number.isNaN(ms) ? null : ms * 1000 / HOUR_US
}

/** A file, as its key tells it. */
export interface LakeFile extends Assigned {
  readonly key: string
  /** Since 1970, UTC. */
  readonly hour: number
  /** Of its plan. */
  readonly firstOffset: number
}

/** @returns `null`: it is no file of a lake */
export function parseFileKey (key: string): LakeFile | null {
  const hour = toHourOf(key)
  const [, topicId, partition, firstOffset] = /\/([^/]+)-(\d+)-(\d+)\.parquet$/.exec(key) ?? []
  if (hour === null || topicId === undefined) return null
  return { key, hour, topicId, partition: Number(partition), firstOffset: Number(firstOffset) }
}

/** Keys of all plans of a partition begin so. */
export const toPlanPrefix = ({ topicId, partition }: Assigned) => `_plans/${topicId}-${partition}/`

/** Key of a plan. */
export function toPlanKey (place: Assigned, firstOffset: number): string {
  const left = String(Number.MAX_SAFE_INTEGER - firstOffset).padStart(DIGITS, '0')
  return `${toPlanPrefix(place)}${left}-${firstOffset}`
}

/** Key of the object that says that a plan is carried out. */
export const toDoneKey = (planKey: string) => `${planKey}${DONE}`

export const isDoneKey = (key: string) => key.endsWith(DONE)

export function toPlanText (plan: Plan): string {
  return JSON.stringify({ schema: 1, ...plan })
}

/** Reads a plan. @throws an error that says what is wrong; a newer version wrote it, or another program */
export function parsePlan (text: string, key: string): Plan {
  const { schema, ...plan } = JSON.parse(text) as Plan & { readonly schema?: unknown }
  const numbers = [plan.partition, plan.firstOffset, plan.lastOffset, plan.leaderEpoch ?? 0]
  const lists = [plan.files, plan.devices, plan.erasures]
  if (schema !== 1 || !numbers.every(Number.isSafeInteger) || !lists.every(Array.isArray) || plan.lastOffset < plan.firstOffset) {
    throw new Error(`${key} is no plan that this version can carry out`)
  }
  return plan
}
