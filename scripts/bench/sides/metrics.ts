import { sumMetric } from '../../command-line/prometheus-text.ts'
import type { Target } from './targets.ts'

/** The metrics of a gateway or a sink, in Prometheus' text format. */
export async function readMetrics ({ ports }: Pick<Target, 'ports'>): Promise<string> {
  return await (await fetch(`http://127.0.0.1:${ports.http}/metrics`)).text()
}

/** Batches that gateways have written, and the readings in them. */
export async function countBatches (gateways: readonly Target[]): Promise<{ readings: number, batches: number }> {
  const counts = { readings: 0, batches: 0 }
  for (const gateway of gateways) {
    const text = await readMetrics(gateway)
    counts.readings += sumMetric(text, 'vital_batch_readings_sum')
    counts.batches += sumMetric(text, 'vital_batch_readings_count')
  }
  return counts
}
