import type { Kysely } from 'kysely'
import type { LatestQuery, Resource, ResourceList, SortKey } from '../../schemas/vital-data.ts'
import type { LatestTable, Tables } from '../tables.ts'
import { resourceColumns } from './resource-columns.ts'

const COLUMNS: Readonly<Record<SortKey, keyof LatestTable>> = {
  deviceId: 'device',
  heartRate: 'heart_rate',
  breathRate: 'breath_rate',
  timestamp: 'time'
}

/**
 * One page of the latest states, and how many devices there are. Nulls come last in both directions; ties are ordered by
 * device, so that pages neither repeat nor skip a device while nothing changes.
 * There is no index to sort by, on purpose (see the first migration): this reads all of `latest`.
 */
export async function selectLatest (kysely: Kysely<Tables>, query: LatestQuery): Promise<ResourceList> {
  const column = COLUMNS[query.sortBy]
  const rows = await kysely
    // Joined and not selected twice, so that both come of one snapshot and a page past the end still has its total.
    .selectFrom((eb) => eb.selectFrom('latest').select((latest) => latest.fn.countAll<number>().as('total')).as('devices'))
    .leftJoinLateral(
      (eb) => eb.selectFrom('latest')
        .select(resourceColumns)
        .select((latest) => latest.ref(column).as('sortValue'))
        .orderBy(column, (order) => query.orderBy === 'asc' ? order.asc().nullsLast() : order.desc().nullsLast())
        .orderBy('device')
        .limit(query.count)
        .offset(query.offset)
        .as('page'),
      (join) => join.onTrue()
    )
    .selectAll()
    .orderBy('sortValue', (order) => query.orderBy === 'asc' ? order.asc().nullsLast() : order.desc().nullsLast())
    .orderBy('deviceId')
    .execute()

  const resources: Resource[] = []
  for (const { deviceId, timestamp, heartRate, breathRate, vitals, vitalTimestamps } of rows) {
    if (deviceId === null || timestamp === null || vitals === null || vitalTimestamps === null) continue
    resources.push({ deviceId, timestamp, heartRate, breathRate, vitals, vitalTimestamps })
  }
  return { total: rows[0]?.total ?? 0, resources }
}
