import type { Test } from 'tap'
import { startGateway, type TestGateway } from '../../helpers/gateway.ts'
import { until } from '../../helpers/until.ts'

/** A page of `GET /vital-data`. */
export interface Page {
  readonly total: number
  readonly resources: ReadonlyArray<{ readonly deviceId: string, readonly heartRate: number | null }>
  readonly next: string | null
}

export const SORTS = ['deviceId', 'timestamp', 'heartRate', 'breathRate'] as const

export async function readMetric ({ httpUrl }: Pick<TestGateway, 'httpUrl'>, name: string): Promise<number> {
  return Number(new RegExp(`^${name} (.*)$`, 'm').exec(await (await fetch(`${httpUrl}/metrics`)).text())?.[1])
}

export async function isTrusted (gateway: Pick<TestGateway, 'httpUrl'>): Promise<boolean> {
  return await readMetric(gateway, 'vital_latest_cache_trusted') === 1
}

/** Settles once the gateway answers pages from Redis. */
export async function untilTrusted (...gateways: ReadonlyArray<Pick<TestGateway, 'httpUrl'>>): Promise<void> {
  for (const gateway of gateways) await until(() => isTrusted(gateway), 'pages to come from Redis', 30_000)
}

export async function readPage ({ httpUrl }: Pick<TestGateway, 'httpUrl'>, query: string): Promise<Page> {
  const response = await fetch(`${httpUrl}/vital-data?${query}`)
  if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`)
  return await response.json() as Page
}

export async function post ({ httpUrl }: Pick<TestGateway, 'httpUrl'>, readings: object): Promise<void> {
  const response = await fetch(`${httpUrl}/vital-data`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(readings)
  })
  if (response.status !== 202) throw new Error(`${response.status} ${await response.text()}`)
}

/** A gateway that copies latest states to Redis. */
export async function startCached (
  t: Test, connectionString: string, redisUrl: string, faults: Parameters<typeof startGateway>[2] = {}
): Promise<TestGateway> {
  return await startGateway(t, { DATABASE_URL: connectionString, REDIS_URL: redisUrl, VITAL_LATEST_CACHE: 'redis' }, faults)
}
