import type { Config } from '../../../src/config/config.ts'
import { ConfigError } from '../../../src/config/config-error.ts'
import { ExportError } from '../../../src/export/export-error.ts'
import { EXPORT_LIMITS } from '../../../src/export/limits.ts'
import { createTarget, type Target } from '../../../src/export/target.ts'
import { fail, type Finding, ok, warn } from './finding.ts'

/** Longest time that it may take to answer. */
const TIMEOUT_MS = 5000

/** The time-series database of `vital-gateway export`; nothing without `VITAL_EXPORT_URL`. It writes nothing there. */
export async function checkExport ({ timeSeries }: Pick<Config, 'timeSeries'>): Promise<Finding[]> {
  if (timeSeries === null) return []
  const check = 'export'
  let target: Target | undefined
  try {
    target = await createTarget({ config: timeSeries, limits: { ...EXPORT_LIMITS, writeTimeoutMs: TIMEOUT_MS } })
    const startedAtMs = performance.now()
    const name = await target.describe()
    const answeredMs = performance.now() - startedAtMs
    const { stopped, warnings } = await target.inspect()
    return [
      ok(check, `${name} of VITAL_EXPORT_URL answers in ${answeredMs.toFixed(1)} ms`),
      timeSeries.isEncrypted || timeSeries.isLoopback
        ? ok('export TLS', timeSeries.isEncrypted ? 'TLS to it' : 'none needed: it is on this machine')
        : warn('export TLS', 'readings and the secret of VITAL_EXPORT_* cross the network unencrypted', 'use https:// in VITAL_EXPORT_URL'),
      ...stopped === null ? [] : [fail(check, `it applies nothing of what it takes: ${stopped}`)],
      ...warnings.map((warning) => warn(check, warning))
    ]
  } catch (error) {
    if (error instanceof ConfigError) return [fail(check, error.message)]
    if (!(error instanceof ExportError)) throw error
    return [fail(check, `the ${timeSeries.kind} of VITAL_EXPORT_URL: ${error.message}`, 'start it, or correct VITAL_EXPORT_…')]
  } finally {
    target?.close()
  }
}
