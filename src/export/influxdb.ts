/**
 * InfluxDB 1 by its own interface, 2 and 3 by that of version 2. A point replaces another one of the same series and
 * time.
 * @see https://docs.influxdata.com/influxdb/v1/tools/api/
 * @see https://docs.influxdata.com/influxdb/v2/api/
 */
import { takeAnswer } from './answers.ts'
import { ExportError } from './export-error.ts'
import { askWell } from './ask-well.ts'
import { type Dialect, type DialectOptions, NOTHING_TOLD } from './dialect.ts'
import { DEVICE_TAG, MEASUREMENT, PARTITION_TAG } from './line-protocol.ts'

/** First and last time of InfluxDB 2. */
const [FIRST, LAST] = ['1970-01-01T00:00:00Z', '2262-01-01T00:00:00Z']

export function createInfluxDb ({ ask, config: { kind, database, org } }: DialectOptions): Dialect {
  const isFirst = kind === 'influxdb1'
  const place: Record<string, string> = kind === 'influxdb2' ? { org, bucket: database } : { bucket: database }

  async function query (q: string): Promise<void> {
    const text = await askWell(ask, { method: 'POST', path: '/query', query: { db: database, q } })
    const { results = [] } = JSON.parse(text) as { readonly results?: ReadonlyArray<{ readonly error?: string }> }
    const failed = results.find(({ error }) => error !== undefined)
    if (failed !== undefined) throw new ExportError(`it refuses a deletion: ${failed.error}`)
  }

  return {
    path: isFirst ? '/write' : '/api/v2/write',
    query: isFirst ? { db: database, precision: 'ns' } : { ...place, precision: 'ns' },
    lineEnd: '\n',
    // The user that may write may not be allowed to make a database, so the operator makes it.
    prepare: () => Promise.resolve(),
    async describe () {
      const { headers } = await ask({ method: 'GET', path: isFirst ? '/ping' : '/health' })
      const version = headers['x-influxdb-version']
      // An empty write checks the database and the right to write.
      if (isFirst) takeAnswer(await ask({ method: 'POST', path: '/write', query: { db: database } }))
      return `InfluxDB${version === undefined ? '' : ` ${String(version)}`}`
    },
    inspect: () => Promise.resolve(NOTHING_TOLD),
    async erase (deviceTag, partition) {
      if (kind === 'influxdb3') return false
      if (isFirst) {
        // DELETE would leave the id in the index.
        await query(`DROP SERIES FROM "${MEASUREMENT}" WHERE "${DEVICE_TAG}" = '${deviceTag.replaceAll(/['\\]/g, '\\$&')}' ` +
          `AND "${PARTITION_TAG}" = '${partition}'`)
        return true
      }
      const predicate = `_measurement="${MEASUREMENT}" AND ${DEVICE_TAG}=${toQuoted(deviceTag)} AND ${PARTITION_TAG}="${partition}"`
      await askWell(ask, {
        method: 'POST',
        path: '/api/v2/delete',
        query: place,
        body: { bytes: Buffer.from(JSON.stringify({ start: FIRST, stop: LAST, predicate })), type: 'application/json' }
      })
      return true
    }
  }
}

const toQuoted = (text: string) => `"${text.replaceAll(/["\\]/g, '\\$&')}"`
