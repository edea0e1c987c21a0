/**
 * VictoriaMetrics, single-node. Each field is a series of its own, `vital_heartRateValue{device,logPartition}`. It
 * keeps milliseconds and numbers only. It answers 204 even if it drops values, and counts these in its metrics.
 * @see https://docs.victoriametrics.com/victoriametrics/integrations/influxdb/
 */
import { askWell } from './ask-well.ts'
import type { Dialect, DialectOptions } from './dialect.ts'
import { DEVICE_TAG, MEASUREMENT, PARTITION_TAG } from './line-protocol.ts'

const IGNORED = /^vm_rows_ignored_total\{reason="(\w+)"\} (\d+)/gm
const INVALID = /^vm_rows_invalid_total\{type="influx"\} (\d+)/m
const NO_DEDUPLICATION = 'VictoriaMetrics counts a reading twice that was written twice: start it with -dedup.minScrapeInterval=1ms'

export function createVictoriaMetrics ({ ask }: DialectOptions): Dialect {
  const readMetrics = () => askWell(ask, { method: 'GET', path: '/metrics' })

  return {
    path: '/write',
    query: { precision: 'ns' },
    lineEnd: null,
    prepare: () => Promise.resolve(),
    async describe () {
      const [, version] = /^vm_app_version\{.*?short_version="([^"]+)"/m.exec(await readMetrics()) ?? []
      return `VictoriaMetrics${version === undefined ? '' : ` ${version}`}`
    },
    async inspect () {
      const text = await readMetrics()
      const ignored = new Map([...text.matchAll(IGNORED)].map(([, reason = '', count]) => [reason, Number(count)]))
      const [, invalid] = INVALID.exec(text) ?? []
      if (invalid !== undefined) ignored.set('invalid', Number(invalid))
      const [, interval] = /^flag\{name="dedup\.minScrapeInterval", ?value="([^"]*)"/m.exec(text) ?? []
      const isDeduplicated = interval === undefined || !/^0\w*$/.test(interval)
      return { stopped: null, unapplied: 0, ignored, warnings: isDeduplicated ? [] : [NO_DEDUPLICATION] }
    },
    async erase (deviceTag, partition) {
      // Points of the last second are not in the index yet, and would be missed without a flush.
      await askWell(ask, { method: 'GET', path: '/internal/force_flush' })
      const match = `{__name__=~"${MEASUREMENT}_.*",${DEVICE_TAG}=${JSON.stringify(deviceTag)},${PARTITION_TAG}="${partition}"}`
      await askWell(ask, { method: 'POST', path: '/api/v1/admin/tsdb/delete_series', query: { 'match[]': match } })
      return true
    }
  }
}
