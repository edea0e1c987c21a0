import type { Ledger } from '../ingest/ledger.ts'
import type { Metrics, Series } from '../metrics/metrics.ts'
import { addReaderMetrics, type ReaderStatistics } from '../sink/sink-metrics.ts'
import type { ExportStatistics } from './batch-writer.ts'
import type { Inspector } from './inspector.ts'

interface ExportState extends ReaderStatistics {
  readonly ledger: Pick<Ledger, 'account'>
  readonly statistics: ExportStatistics
  readonly inspector: Pick<Inspector, 'ignored' | 'unapplied'>
  readonly isUp: boolean
}

/** Metrics that only exports have. */
export function addExportMetrics (metrics: Metrics, read: () => ExportState): void {
  addReaderMetrics(metrics, { role: 'export', target: 'the time-series database' }, read)
  const account = () => read().ledger.account('kafka')
  const count = (name: string, help: string, of: (statistics: ExportStatistics) => number) => {
    metrics.counter(name, help, () => of(read().statistics))
  }
  metrics.counter('vital_export_readings_total', 'Readings that the time-series database took', () => account().stored)
  metrics.counter('vital_export_dead_lettered_total', 'Readings that it refused, and that became dead letters',
    () => [...account().deadLettered.values()].reduce((sum, letters) => sum + letters, 0))
  count('vital_export_over_cap_total', 'Those of them beyond the caps of dead letters, which ' +
    'were not kept', ({ lettersOverCap }) => lettersOverCap)
  metrics.counter('vital_export_erased_total', 'Readings left out because their device is being erased',
    () => account().refused.get('erased') ?? 0)
  metrics.counter('vital_export_unreadable_total', 'Records that no gateway wrote, and that were left out',
    () => account().refused.get('over_cap') ?? 0)
  count('vital_export_without_values_total', 'Readings without any value that the database can hold', ({ withoutValues }) => withoutValues)
  metrics.counters('vital_export_ignored_total', 'Values that the database dropped after it had taken them, by its own reason', ['reason'],
    () => [...read().inspector.ignored].map(([reason, total]): Series<'reason'> => [{ reason }, total]))
  metrics.gauge('vital_export_unapplied_transactions', 'Transactions that the database took, and that no query of it finds yet (QuestDB)',
    () => read().inspector.unapplied)
  count('vital_export_requests_total', 'Writes to the database', ({ requests }) => requests)
  count('vital_export_request_bytes_total', 'Bytes of these, as they were sent', ({ bytes }) => bytes)
  count('vital_export_erasures_total', 'Deletions of an erased device, one for each partition', ({ erasures }) => erasures)
  count('vital_export_erasures_left_total', 'The same, where the database cannot delete', ({ erasuresLeft }) => erasuresLeft)
  metrics.gauge('vital_export_up', '1 while the database takes batches and PostgreSQL their offsets', () => read().isUp ? 1 : 0)
}
