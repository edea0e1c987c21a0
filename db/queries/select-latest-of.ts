import { type Kysely, sql } from 'kysely'
import type { Resource, ResourceList } from '../../schemas/vital-data.ts'
import type { Tables } from '../tables.ts'

interface Row extends Omit<Resource, 'deviceId'> {
  readonly total: number
  /** `null` in the one row where none of the devices is there, for the total. */
  readonly deviceId: string | null
}

/** The latest states of `devices`, in no order and without those that are not there, and how many devices there are in all. */
export async function selectLatestOf (kysely: Kysely<Tables>, devices: readonly string[]): Promise<ResourceList> {
  const { rows } = await sql<Row>`
    select counted.total, device as "deviceId", extract(epoch from l.time)::float8 as timestamp, heart_rate as "heartRate",
      breath_rate as "breathRate", vitals, vital_times as "vitalTimestamps"
    from (select coalesce(sum(devices), 0)::bigint as total from device_counts) counted
    left join latest l on l.device = any(${devices}::text[])`.execute(kysely)
  const resources: Resource[] = []
  for (const { total, deviceId, ...resource } of rows) {
    if (deviceId !== null) resources.push({ deviceId, ...resource })
  }
  return { total: rows[0]?.total ?? 0, resources }
}
