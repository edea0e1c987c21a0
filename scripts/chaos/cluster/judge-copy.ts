/** Checks the copy of the latest states in Redis: pages of gateways come from it, and equal PostgreSQL's rows. */
import { isDeepStrictEqual } from 'node:util'
import { sumMetric } from '../../command-line/prometheus-text.ts'
import { until } from '../../harness/until.ts'
import type { Stage } from './stage.ts'

/** Until pages come from Redis again: states that may differ are read again first. */
const TRUST_TIMEOUT_MS = 30_000
/** "At most a second after a kill." */
const EXACT_WITHIN_MS = 1000
const PAGE_DEVICES = 100
const ANSWER_TIMEOUT_MS = 5000

/** A device, as a page and the table both have it. */
export interface LatestState {
  readonly deviceId: string
  /** Unix seconds. */
  readonly timestamp: number
  readonly vitals: Readonly<Record<string, unknown>>
}

/** @returns devices whose states differ, or that one side lacks */
export function findDifferences (rows: readonly LatestState[], pages: readonly LatestState[]): string[] {
  const ofRows = new Map(rows.map((row) => [row.deviceId, row]))
  const ofPages = new Map(pages.map((state) => [state.deviceId, state]))
  return [...new Set([...ofRows.keys(), ...ofPages.keys()])].filter((device) => {
    const [row, state] = [ofRows.get(device), ofPages.get(device)]
    return row === undefined || state === undefined || row.timestamp !== state.timestamp || !isDeepStrictEqual(row.vitals, state.vitals)
  })
}

/**
 * Compares the pages of each gateway with the rows, while nothing is sent.
 * @returns how many states were compared
 */
export async function judgeCopy ({ gateways, query, violate }: Pick<Stage, 'gateways' | 'query' | 'violate'>): Promise<number> {
  const rows = await query<LatestState>('select device as "deviceId", extract(epoch from time)::float8 as timestamp, vitals from latest')
  let compared = 0
  for (const { options: { name, httpPort } } of gateways) {
    const url = `http://127.0.0.1:${httpPort}`
    const read = async (metric: string) => sumMetric(await ask(`${url}/metrics`), metric)
    if (await until(async () => await read('vital_latest_cache_trusted') === 1, TRUST_TIMEOUT_MS) === null) {
      violate('expected', `${name}: pages do not come from Redis again`)
      continue
    }
    const before = await read('vital_latest_cache_pages_total')
    let different: readonly string[] = []
    const isEqual = async () => {
      different = findDifferences(rows, await readPages(url))
      return different.length === 0
    }
    if (await until(isEqual, EXACT_WITHIN_MS) === null) {
      violate('C3', `${name}: Redis has another latest state of ${different.length} devices, such as ${different[0]}`)
    }
    if (await read('vital_latest_cache_pages_total') === before) violate('expected', `${name}: its pages did not come from Redis`)
    compared += rows.length
  }
  return compared
}

async function readPages (url: string): Promise<LatestState[]> {
  const states: LatestState[] = []
  for (;;) {
    const text = await ask(`${url}/vital-data?sortBy=deviceId&orderBy=asc&count=${PAGE_DEVICES}&offset=${states.length}`)
    const { resources } = JSON.parse(text) as { readonly resources: readonly LatestState[] }
    if (resources.length === 0) return states
    states.push(...resources)
  }
}

async function ask (url: string): Promise<string> {
  const response = await fetch(url, { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) })
  return await response.text()
}
