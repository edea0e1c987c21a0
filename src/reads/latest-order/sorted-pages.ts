import type { Logger } from 'pino'
import { countOtherGateways } from '../../../db/queries/count-other-gateways.ts'
import type { LatestPage, OrderedRow, OrderKeys } from '../../../db/queries/resource-columns.ts'
import { isFiltered, type LatestSearch, type Snapshot, toKey } from '../../../db/queries/latest-search.ts'
import { selectLatestSorted } from '../../../db/queries/select-latest-sorted.ts'
import { selectLatest } from '../../../db/queries/select-latest.ts'
import { selectOrderKeys } from '../../../db/queries/select-order-keys.ts'
import { selectSnapshot } from '../../../db/queries/select-snapshot.ts'
import type { ReadingRow } from '../../../db/rows.ts'
import type { LatestQuery } from '../../../schemas/vital-data.ts'
import type { Clock } from '../../clock.ts'
import { createRecentSnapshot } from '../latest-cache/recent-snapshot.ts'
import type { LatestCache } from '../latest-cache/latest-cache.ts'
import type { ReadBudget } from '../read-budget.ts'
import { compareDevices } from './compare-devices.ts'
import { DeviceOrder } from './device-order.ts'
import type { LatestCursor } from './cursor.ts'
import { createLoader } from './loader.ts'
import { createTableSorts } from './table-sorts.ts'

/**
 * 160 to 260 bytes each with ids of 12 characters; and one pass over all of them, 5 to 15 ms for each million, holds up
 * the event loop.
 */
const DEVICES_MAX = 2_000_000
/** In the worst case each of these is compared by its id, 0.1 µs; reading `latest` again ranks them. */
const UNRANKED_MAX = 200_000
/** Pages with devices that were deleted by hand; after so many the order is read again. */
const ATTEMPTS_MAX = 3

/** More devices than all batches that are committed and not yet observed can have added. */
const DIFFERENCE_MAX = 10_000

/**
 * Up to here a page by id is one walk along the key in PostgreSQL, 1 µs a device; deeper, a pass over the order costs
 * less.
 */
const KEY_OFFSET_MAX = 10_000

export interface SortedPagesOptions {
  readonly budget: Pick<ReadBudget, 'query' | 'background' | 'at'>
  /** Of this gateway, which does not count as another one. */
  readonly applicationName?: string
  /** A pooler stands before PostgreSQL. */
  readonly isPooled?: () => boolean
  readonly clock: Pick<Clock, 'nowMs'>
  readonly logger: Logger
  /** The copy of `latest` in Redis, where there is one. */
  readonly cache?: Pick<LatestCache, 'page' | 'isTrusted'> | null
  readonly devicesMax?: number
  /** Pages by id that lie deeper are picked from memory. */
  readonly keyOffsetMax?: number
  readonly watchIntervalMs?: number
  readonly reloadIntervalMs?: number
}

/** A page that is asked for, with the cursor of the page before it. */
export interface CursorSearch extends LatestSearch {
  readonly after?: LatestCursor | undefined
  /** The page shows at least the readings that were stored by then. */
  readonly position?: string | null
}

/** A page, and where it ends; `null` on the last one. */
export interface CursorPage extends LatestPage {
  readonly next: LatestCursor | null
}

/**
 * Pages of the latest states. Sort columns that change have no index in PostgreSQL. The order of the devices, kept here
 * in memory, selects the devices of such a page, and one query by key fetches them. Where the order cannot be trusted
 * PostgreSQL sorts.
 */
export function createSortedPages (options: SortedPagesOptions) {
  const { budget, cache = null, applicationName, isPooled = () => false, logger } = options
  const { devicesMax = DEVICES_MAX, keyOffsetMax = KEY_OFFSET_MAX } = options
  const order = new DeviceOrder({ devicesMax })
  /** A snapshot of PostgreSQL of the last second: a walk that begins in memory may have to go on there. */
  let snapshot: Snapshot | null = null
  const loader = createLoader({
    ...options,
    order,
    devicesMax,
    // The server sees another gateway behind a pooler only while a transaction of it runs.
    async countOtherGateways () {
      if (isPooled()) return 1
      const others = await budget.background((kysely) => countOtherGateways(kysely, applicationName))
      snapshot = others.snapshot
      return others.gateways
    },
    countDevices: async () => (await budget.background((kysely) => selectLatest(kysely, []))).total,
    selectOrderKeys: (after, count) => budget.background((kysely) => selectOrderKeys(kysely, after, count))
  })
  const sortInTable = createTableSorts(listFromTable)
  const recentSnapshot = createRecentSnapshot(() => budget.query(selectSnapshot))
  /** Devices that are being erased. */
  let erasing = 0

  const isTrusted = () => loader.isTrusted && erasing === 0 && order.unranked <= UNRANKED_MAX

  async function listFromTable (search: CursorSearch): Promise<CursorPage> {
    const { position = null } = search
    const { hasMore, snapshot, total, resources } = await budget.at(position).query((kysely) => selectLatestSorted(kysely, search))
    const last = resources.at(-1)
    if (!hasMore || last === undefined) return { total, resources, next: null }
    const { sortBy, after } = search
    const end = { key: toKey(last, sortBy), device: last.deviceId, walk: null }
    return { total, resources, next: { ...end, snapshot: sortBy === 'deviceId' ? null : after?.snapshot ?? snapshot } }
  }

  /** @returns `null` where the order cannot be trusted, or does not know the walk */
  async function listOrdered (search: CursorSearch): Promise<CursorPage | null> {
    const { sortBy, after } = search
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      if (!isTrusted() || snapshot === null) return null
      if (after !== undefined && sortBy !== 'deviceId' && after.walk?.orderId !== order.id) return null
      const moment = order.begin()
      const walk = after?.walk ?? { orderId: order.id, moment }
      const begun = { snapshot: after?.snapshot ?? snapshot, walk }
      const picked = order.pick({ ...search, after: after && { ...after, moment: walk.moment } })
      if (picked === null) return null
      const { devices, end } = picked
      const list = await budget.query((kysely) => selectLatest(kysely, devices))
      for (const resource of list.resources) order.correct(toOrderKeys(resource), moment)
      if (Math.abs(list.total - order.size) > DIFFERENCE_MAX) loader.hurry()
      if (list.resources.length === devices.length) {
        const total = isFiltered(search) ? picked.total : list.total
        const next = end && { ...end, ...(sortBy === 'deviceId' ? { snapshot: null, walk: null } : begun) }
        return { total, resources: toSorted(list.resources, search), next }
      }
      const found = new Set(list.resources.map(({ deviceId }) => deviceId))
      for (const device of devices) if (!found.has(device)) order.miss(device, moment)
    }
    loader.distrust('devices were deleted by hand')
    return null
  }
  /** @returns `null` for a page that the copy in Redis does not have, or while it cannot be trusted */
  async function listCached (search: CursorSearch): Promise<CursorPage | null> {
    const { sortBy, after, position = null } = search
    if (cache === null || !cache.isTrusted || after !== undefined || position !== null || isFiltered(search)) return null
    // Taken before the page: otherwise a device that moves meanwhile could come twice.
    const begun = sortBy === 'deviceId' ? null : await recentSnapshot()
    const page = await cache.page(search)
    if (page === null) return null
    const { end, ...list } = page
    return { ...list, next: end && { ...end, snapshot: begun, walk: null } }
  }

  return {
    /** Whether pages come from memory now. */
    get isTrusted (): boolean {
      return isTrusted()
    },

    /** Devices that are kept in memory. */
    get devices (): number {
      return order.size
    },

    /** Devices that were silent when `latest` was last read; NaN where that cannot be trusted now. */
    get silent (): number {
      return isTrusted() ? order.silent : NaN
    },

    async list (search: CursorSearch): Promise<CursorPage> {
      const cached = cache === null ? null : await listCached(search)
      if (cached !== null) return cached
      const isAlongKey = search.sortBy === 'deviceId' && !isFiltered(search) && search.offset <= keyOffsetMax
      if (isAlongKey) return await listFromTable(search)
      return await listOrdered(search) ?? await sortInTable(search)
    },

    /** Takes in a committed batch before it is acknowledged. Every later request finds its readings. Never throws. */
    observe (rows: readonly ReadingRow[]): void {
      try {
        order.observe(rows)
      } catch (error) {
        // The batch is stored, and must not be reported as not stored.
        order.close()
        logger.error({ err: error }, 'the order of devices failed')
      }
    },

    /** The device was erased from PostgreSQL. Settles when the order knows its readings since then. */
    async forget (device: string): Promise<void> {
      erasing++
      try {
        order.remove(device)
        const moment = order.begin()
        // Readings after the erasure may have been observed before this call, and were removed with the rest.
        const { resources: [resource] } = await budget.background((kysely) => selectLatest(kysely, [device]))
        if (resource !== undefined) order.take(toOrderKeys(resource), moment)
      } catch {
        loader.distrust('a device was erased')
      } finally {
        erasing--
      }
    },

    start: loader.start,
    stop: loader.stop
  }
}

export type SortedPages = ReturnType<typeof createSortedPages>

function toOrderKeys ({ deviceId, timestamp, ...keys }: OrderedRow): OrderKeys {
  return { device: deviceId, time: timestamp, ...keys }
}

/** The fetched rows may be newer than the order that selected the page. */
function toSorted (resources: readonly OrderedRow[], { sortBy, orderBy }: Pick<LatestQuery, 'sortBy' | 'orderBy'>): OrderedRow[] {
  const sign = orderBy === 'asc' ? 1 : -1
  if (sortBy === 'deviceId') return resources.toSorted((a, b) => sign * compareDevices(a.deviceId, b.deviceId))
  return resources.toSorted((a, b) => {
    const left = a[sortBy]
    const right = b[sortBy]
    if (left === right) return compareDevices(a.deviceId, b.deviceId)
    if (left === null) return 1
    if (right === null) return -1
    return left < right ? -sign : sign
  })
}
