import type { Logger } from 'pino'
import { countOtherGateways } from '../../../db/queries/count-other-gateways.ts'
import type { LatestPage, OrderedRow, OrderKeys } from '../../../db/queries/resource-columns.ts'
import { selectLatest } from '../../../db/queries/select-latest.ts'
import { selectLatestOf } from '../../../db/queries/select-latest-of.ts'
import { selectOrderKeys } from '../../../db/queries/select-order-keys.ts'
import type { ReadingRow } from '../../../db/rows.ts'
import type { LatestQuery } from '../../../schemas/vital-data.ts'
import type { ReadBudget } from '../read-budget.ts'
import { compareDevices } from './compare-devices.ts'
import { DeviceOrder } from './device-order.ts'
import { createLoader } from './loader.ts'
import { createTableSorts } from './table-sorts.ts'

/**
 * 150 bytes each with ids of 12 characters; and one pass over all of them, 5 to 15 ms for each million, holds up the
 * event loop.
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
  readonly budget: Pick<ReadBudget, 'query' | 'background'>
  /** Of this gateway, which is none of the others. */
  readonly applicationName?: string
  /** A pooler stands before PostgreSQL. */
  readonly isPooled?: () => boolean
  readonly logger: Logger
  readonly devicesMax?: number
  /** Pages by id that lie deeper are picked from memory. */
  readonly keyOffsetMax?: number
  readonly watchIntervalMs?: number
  readonly reloadIntervalMs?: number
}

/**
 * Pages of the latest states. Sort columns that change have no index in PostgreSQL. The order of the devices, kept here
 * in memory, selects the devices of such a page, and one query by key fetches them. Where the order cannot be trusted
 * PostgreSQL sorts.
 */
export function createSortedPages (options: SortedPagesOptions) {
  const { budget, applicationName, isPooled = () => false, logger, devicesMax = DEVICES_MAX, keyOffsetMax = KEY_OFFSET_MAX } = options
  const order = new DeviceOrder({ devicesMax })
  const loader = createLoader({
    ...options,
    order,
    devicesMax,
    // The server sees another gateway behind a pooler only while a transaction of it runs.
    countOtherGateways: async () => isPooled()
      ? 1
      : await budget.background((kysely) => countOtherGateways(kysely, applicationName)),
    countDevices: async () => (await budget.background((kysely) => selectLatestOf(kysely, []))).total,
    selectOrderKeys: (after, count) => budget.background((kysely) => selectOrderKeys(kysely, after, count))
  })
  const listFromTable = (query: LatestQuery) => budget.query((kysely) => selectLatest(kysely, query))
  const sortInTable = createTableSorts(listFromTable)
  /** Devices that are being erased. */
  let erasing = 0

  const isTrusted = () => loader.isTrusted && erasing === 0 && order.unranked <= UNRANKED_MAX

  /** @returns `null` where the order cannot be trusted */
  async function listOrdered (query: LatestQuery): Promise<LatestPage | null> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const devices = isTrusted() ? order.page(query) : null
      if (devices === null) return null
      const moment = order.begin()
      const list = await budget.query((kysely) => selectLatestOf(kysely, devices))
      for (const resource of list.resources) order.correct(toOrderKeys(resource), moment)
      if (Math.abs(list.total - order.size) > DIFFERENCE_MAX) loader.hurry()
      if (list.resources.length === devices.length) return { ...list, resources: toSorted(list.resources, query) }
      const found = new Set(list.resources.map(({ deviceId }) => deviceId))
      for (const device of devices) if (!found.has(device)) order.miss(device, moment)
    }
    loader.distrust('devices were deleted by hand')
    return null
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

    async list (query: LatestQuery): Promise<LatestPage> {
      if (query.sortBy === 'deviceId' && query.offset <= keyOffsetMax) return await listFromTable(query)
      return await listOrdered(query) ?? await sortInTable(query)
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
        const { resources: [resource] } = await budget.background((kysely) => selectLatestOf(kysely, [device]))
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
function toSorted (resources: readonly OrderedRow[], { sortBy, orderBy }: LatestQuery): OrderedRow[] {
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
