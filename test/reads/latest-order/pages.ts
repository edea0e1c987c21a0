import { pino } from 'pino'
import type { Test } from 'tap'
import { createDatabase } from '../../../db/database.ts'
import type { LatestPage } from '../../../db/queries/resource-columns.ts'
import type { ReadingRow } from '../../../db/rows.ts'
import { createStore } from '../../../db/store.ts'
import type { LatestQuery } from '../../../schemas/vital-data.ts'
import { toRowAt } from '../../../src/ingest/reading-row.ts'
import { createSortedPages, type SortedPagesOptions } from '../../../src/reads/latest-order/sorted-pages.ts'
import { createReadBudget } from '../../../src/reads/read-budget.ts'
import { createTestDatabase } from '../../helpers/postgres.ts'

export const NAME = 'vital-gateway test:1'
export const SORTS = ['deviceId', 'timestamp', 'heartRate', 'breathRate'] as const
export const ORDERS = ['asc', 'desc'] as const

/** Sorted pages over a database of their own. `pages.start()` of the result fills the order. */
export async function startPages (t: Test, options: Partial<SortedPagesOptions> = {}) {
  const { connectionString, query } = await createTestDatabase(t)
  const logger = pino({ level: process.env['LOG'] ?? 'silent' })
  const database = createDatabase({ connectionString, poolSize: 4, logger, applicationName: NAME })
  const pages = createSortedPages({
    budget: createReadBudget({
      kysely: database.kysely, queriesMax: 4
    }),
    applicationName: NAME,
    clock: { nowMs: Date.now },
    logger,
    watchIntervalMs: 20,
    reloadIntervalMs: 1e9,
    keyOffsetMax: -1,
    ...options
  })
  t.teardown(async () => {
    await pages.stop()
    await database.close()
  })
  const store = createStore({ ...database, onStored: [pages.observe] })
  const ids = async (search: Partial<LatestQuery> = {}) => {
    const list = await pages.list({ sortBy: 'heartRate', orderBy: 'desc', offset: 0, count: 20, ...search })
    return list.resources.map(({ deviceId }) => deviceId).join(' ')
  }
  return {
    connectionString,
    query,
    database,
    pages,
    ids,
    write: (...rows: ReadingRow[]) => store.write(rows, []),
    writeUnseen: (...rows: ReadingRow[]) => createStore(database).write(rows, [])
  }
}

export type Started = Awaited<ReturnType<typeof startPages>>

/** The part of a page that is answered. The page has more, which corrects the order in memory. */
export function toText ({ total, resources }: LatestPage): string {
  return JSON.stringify([total, resources.map(({ deviceId, timestamp, heartRate, breathRate, vitals, vitalTimestamps }) =>
    [deviceId, timestamp, heartRate, breathRate, vitals, vitalTimestamps])])
}

export const reading = (device: string, timeUs: number, fields: Record<string, unknown> = {}): ReadingRow => toRowAt(timeUs, fields, device,
  Date.now())

const PARTS = ['a', 'b', 'Z', '~', ' ', 'é', '\ue000', '\uff5a', '\u{10000}', '\u{1f600}']

/** Readings of a few devices, times and values, with every kind of tie. */
export function createReadings (random: () => number) {
  const pick = (length: number) => Math.floor(random() * length)
  const devices = Array.from({ length: 20 }, () => Array.from({ length: 1 + pick(3) }, () => PARTS[pick(PARTS.length)]).join(''))
  const value = () => random() < 0.5 ? pick(4) : [-1.5, 0, -0, 1e300, 71.25][pick(5)]
  return () => {
    const fields: Record<string, unknown> = {}
    for (const name of ['heartRateValue', 'breathRateValue', 'breathValue', 'weight']) if (random() < 0.3) fields[name] = value()
    return reading(devices[pick(devices.length)]!, pick(4) * 500_000 + pick(2), fields)
  }
}
