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
 * @returns what the metrics say then; `null` when it did not come to that
 */
export async function settle (httpPort: number, query: Query, violate: Violate): Promise<Scrape | null> {
  let last: Scrape | null = null
  const tookMs = await until(async () => {
    last = await scrape(httpPort)
    return last.pending === 0 && last.spoolReadings === 0 && last.databaseUp
  }, SETTLE_TIMEOUT_MS)
  if (tookMs === null) violate('C6', `the gateway did not settle within ${SETTLE_TIMEOUT_MS} ms: ${JSON.stringify(last)}`)
  await untilIdle(query, 'state <> \'idle\'')
  return tookMs === null ? null : await scrape(httpPort)
}
