/** Whether the replica is used: what it answered, and what the primary answered in its place, over all lives of the gateways. */
import { setTimeout as sleep } from 'node:timers/promises'
import { sumMetric } from '../../command-line/prometheus-text.ts'
import type { ClusterGateway } from './cluster-gateway.ts'

const LOOK_INTERVAL_MS = 500
const ANSWER_TIMEOUT_MS = 5000
const ANSWERED_BY = ['replica', 'unreached', 'stale', 'failed'] as const

type Counts = Record<typeof ANSWERED_BY[number], number>

const NONE: Counts = { replica: 0, unreached: 0, stale: 0, failed: 0 }

/** Each kill takes what was counted since the last look with it, so these are lower bounds. */
export function createReplicaTally (gateways: ReadonlyArray<Pick<ClusterGateway, 'options'>>) {
  const tallies = gateways.map(({ options }) => ({ ...options, last: NONE, total: { ...NONE } }))

  async function look (): Promise<void> {
    await Promise.all(tallies.map(async (tally) => {
      const counts = await readCounts(tally.httpPort).catch(() => null)
      if (counts === null) return
      for (const by of ANSWERED_BY) tally.total[by] += counts[by] < tally.last[by] ? counts[by] : counts[by] - tally.last[by]
      tally.last = counts
    }))
  }

  return {
    look,
    async run (ending: AbortSignal): Promise<void> {
      while (!ending.aborted) {
        await look()
        await sleep(LOOK_INTERVAL_MS)
      }
      await look()
    },
    /** By gateway. */
    totals: () => tallies.map(({ name, total }) => ({ name, ...total })),
    sum: (): Counts => tallies.reduce((sum, { total }) => {
      for (const by of ANSWERED_BY) sum[by] += total[by]
      return sum
    }, { ...NONE })
  }
}

async function readCounts (httpPort: number): Promise<Counts> {
  const text = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`, { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) })).text()
  const instead = (reason: string) => sumMetric(text, 'vital_replica_fallbacks_total', (labels) => labels === `reason="${reason}"`)
  return {
    replica: sumMetric(text, 'vital_replica_reads_total'),
    unreached: instead('unreached'),
    stale: instead('stale'),
    failed: instead('failed')
  }
}
