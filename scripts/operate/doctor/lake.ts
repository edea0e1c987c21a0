import type { Config } from '../../../src/config/config.ts'
import { ConfigError } from '../../../src/config/config-error.ts'
import { LAKE_LIMITS } from '../../../src/lake/limits.ts'
import { loadDuckDb, loadS3 } from '../../../src/lake/load-packages.ts'
import { createObjectStore, isStoreError, toStoreMessage } from '../../../src/lake/object-store.ts'
import { fail, type Finding, ok, warn } from './finding.ts'

/** The store of `vital-gateway lake`; nothing without `VITAL_LAKE_URL`. It puts one object beneath `_check/`, and removes it. */
export async function checkLake ({ lake: { location }, kafka }: Pick<Config, 'lake' | 'kafka'>): Promise<Finding[]> {
  if (location === null) return []
  const check = 'lake'
  const stopping = new AbortController()
  let store
  try {
    await loadDuckDb()
    store = await createObjectStore({ library: await loadS3(), location, limits: LAKE_LIMITS, signal: stopping.signal })
    const startedAtMs = performance.now()
    await store.check()
    const answeredMs = performance.now() - startedAtMs
    const place = `s3://${location.bucket}/${location.prefix}`
    return [
      ok(check, `the store of VITAL_LAKE_URL takes objects at ${place}, and keeps conditions; checked in ${answeredMs.toFixed(0)} ms`),
      ...kafka === null ? [warn(check, 'vital-gateway lake reads Kafka, and KAFKA_BROKERS is not set', 'set KAFKA_BROKERS')] : []
    ]
  } catch (error) {
    if (error instanceof ConfigError) return [fail(check, error.message)]
    if (!isStoreError(error)) throw error
    const advice = 'start it, or correct VITAL_LAKE_URL, AWS_ENDPOINT_URL_S3 and the credentials of AWS'
    return [fail(check, `the store of VITAL_LAKE_URL: ${toStoreMessage(error)}`, advice)]
  } finally {
    stopping.abort()
    store?.close()
  }
}
