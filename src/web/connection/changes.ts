import { poll } from './api.ts'

/** The changes of one device since the last answer. */
export interface DeviceChange {
  readonly id: string
  /** Times of the oldest and the newest of its readings, Unix seconds. */
  readonly firstS: number
  readonly lastS: number
  readonly count: number
  /** The newest values by their field, with their times. */
  readonly values: ReadonlyArray<readonly [field: string, value: number, atS: number]>
}

/** Why a message of a device was refused. */
export interface RejectionChange {
  readonly device: string
  readonly reason: string
  readonly errors: ReadonlyArray<{ readonly path: string, readonly message: string }>
  readonly receivedAt: number
}

export interface Changes {
  /** Earlier changes were missed: all devices have to be read anew. */
  readonly missed: boolean
  readonly devices: readonly DeviceChange[]
  readonly rejections: readonly RejectionChange[]
}

type Entry = [id: string, firstS: number, lastS: number, count: number, values: Array<number | null>, timesS?: Array<number | null>]

interface Answer extends Omit<Changes, 'devices'> {
  readonly position: string
  /** Names of the values of each entry. */
  readonly fields: readonly string[]
  readonly devices: readonly Entry[]
}

let position: string | null = null

/** Asks for the changes since the last call. @throws `ApiError` */
export async function readChanges (): Promise<Changes> {
  const answer = await poll<Answer>(`/app/changes.json${position === null ? '' : `?since=${position}`}`)
  position = answer.position
  const { fields, missed, rejections } = answer
  const devices = answer.devices.map(([id, firstS, lastS, count, values, timesS]): DeviceChange => ({
    id,
    firstS,
    lastS,
    count,
    values: values.flatMap((value, index) => value === null ? [] : [[fields[index]!, value, timesS?.[index] ?? lastS] as const])
  }))
  return { missed, rejections, devices }
}
