import type { Metrics } from '../metrics/metrics.ts'
import { addReaderMetrics, type ReaderStatistics } from '../sink/sink-metrics.ts'
import type { LakeWriter } from './writer.ts'

interface LakeState extends ReaderStatistics {
  readonly writer: Pick<LakeWriter, 'statistics' | 'unreadable' | 'erased' | 'isUp'>
}

/** Metrics that only lakes have. */
export function addLakeMetrics (metrics: Metrics, read: () => LakeState): void {
  addReaderMetrics(metrics, { role: 'lake', target: 'the lake' }, read)
  const count = (name: string, help: string, of: (statistics: LakeWriter['statistics']) => number) => {
    metrics.counter(name, help, () => of(read().writer.statistics))
  }
  count('vital_lake_readings_total', 'Readings in the files that this lake wrote', ({ readings }) => readings)
  count('vital_lake_duplicates_total', 'Records that were in the log twice, within one plan', ({ duplicates }) => duplicates)
  count('vital_lake_files_total', 'Files that this lake wrote', ({ files }) => files)
  count('vital_lake_file_bytes_total', 'Bytes of these files', ({ bytes }) => bytes)
  count('vital_lake_plans_total', 'Plans that this lake carried out', ({ plans }) => plans)
  count('vital_lake_rewritten_files_total', 'Files that were rewritten without a device that is erased', ({ rewritten }) => rewritten)
  metrics.counter('vital_lake_erased_total', 'Records left out because a gateway that did not know of an erasure wrote them',
    () => read().writer.erased)
  metrics.counter('vital_lake_unreadable_total', 'Records that no gateway wrote, and that were left out', () => read().writer.unreadable)
  metrics.gauge('vital_lake_up', '1 while the store takes files and PostgreSQL answers', () => read().writer.isUp ? 1 : 0)
}
