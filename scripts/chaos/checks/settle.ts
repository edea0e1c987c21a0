/** How an account comes to rest: the devices send nothing new, and the gateway brings everything into PostgreSQL. */
import type { Query, Violation } from '../../harness/checks/stored.ts'
import type { PublisherFigures } from '../../harness/devices/messages.ts'
import { type Scrape, scrape } from '../../harness/checks/metrics.ts'
import type { PublisherProcess } from '../../harness/devices/publisher-process.ts'
import { untilIdle } from '../../harness/checks/tables.ts'
import { until } from '../../harness/until.ts'

const DRAIN_TIMEOUT_MS = 60_000
const SETTLE_TIMEOUT_MS = 90_000

type Violate = (checker: Violation['checker'], message: string) => void

/** Waits until every reading is acknowledged, and reports faults of the protocol. */
export async function drain (publisher: PublisherProcess, violate: Violate): Promise<PublisherFigures> {
  const figures = await publisher.drain(DRAIN_TIMEOUT_MS)
  if (figures.unacknowledged > 0) {
    violate('C6', `${figures.unacknowledged} readings were not acknowledged within ${DRAIN_TIMEOUT_MS} ms after the fault had passed`)
  }
  // [MQTT-4.6.0-2] is part of what an acknowledgement promises.
  for (const fault of figures.faults) violate(fault.includes('out of turn') ? 'C1' : 'expected', fault)
  return figures
}

/**
 * Waits until nothing is pending and no transaction of the gateway runs.
 * @param writers - the processes that write to PostgreSQL: sinks go on with what this gateway has logged
 * @returns the metrics then; `null` when it did not settle
 */
export async function settle (
  httpPort: number, query: Query, violate: Violate, writers: 'gateways' | 'sinks' = 'gateways'
): Promise<Scrape | null> {
  let last: Scrape | null = null
  const tookMs = await until(async () => {
    last = await scrape(httpPort)
    return last.pending === 0 && last.spoolReadings === 0 && last.databaseUp
  }, SETTLE_TIMEOUT_MS)
  if (tookMs === null) violate('C6', `the gateway did not settle within ${SETTLE_TIMEOUT_MS} ms: ${JSON.stringify(last)}`)
  if (writers === 'gateways') await untilIdle(query, 'state <> \'idle\'')
  return tookMs === null ? null : await scrape(httpPort)
}

/** Further looks that must find the same: a reader learns of the end of a partition some hundred milliseconds late. */
const LOOKS = 4
const LOOK_INTERVAL_MS = 500

interface ReadersOptions {
  /** As their metrics name them. */
  readonly role: 'sink' | 'lake' | 'export'
  readonly httpPorts: readonly number[]
  /** Of all their topics. */
  readonly partitions: number
  readonly timeoutMs?: number
}

/** Waits until readers of Kafka have all partitions and have stored what is in them. */
export async function settleReaders (
  { role, httpPorts, partitions, timeoutMs = SETTLE_TIMEOUT_MS }: ReadersOptions, violate: Violate
): Promise<void> {
  if (httpPorts.length === 0) return
  const lag = new RegExp(`^vital_${role}_lag_records\\{.*\\} (\\d+)$`, 'gm')
  let looks = 0
  let last = ''
  const tookMs = await until(async () => {
    const texts = await Promise.all(httpPorts.map(async (port) =>
      await (await fetch(`http://127.0.0.1:${port}/metrics`, { signal: AbortSignal.timeout(LOOK_INTERVAL_MS * 10) })).text()))
    const lags = texts.flatMap((text) => [...text.matchAll(lag)].map(([, records]) => Number(records)))
    last = lags.join(' ')
    looks = lags.length === partitions && lags.every((records) => records === 0) ? looks + 1 : 0
    return looks > LOOKS
  }, timeoutMs, LOOK_INTERVAL_MS)
  if (tookMs === null) violate('C6', `each ${role} did not store what is in Kafka within ${timeoutMs} ms; lags of partitions: ${last}`)
}
