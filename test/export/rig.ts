import type { Test } from 'tap'
import { createExport } from '../../src/export.ts'
import type { ExportLimits } from '../../src/export/limits.ts'
import { readV8Flags } from '../../scripts/harness/v8-flags.ts'
import { spawnGateway } from '../helpers/gateway-process.ts'
import type { TestDatabase } from '../helpers/postgres.ts'
import { startReader } from '../helpers/reader.ts'
import type { TimeSeries } from '../helpers/time-series.ts'
import { isWritten, type Rig } from '../lake/rig.ts'

/** The configuration of an export. */
export const toVariables = (rig: Pick<Rig, 'kafka'>, { variables }: Pick<TimeSeries, 'variables'>, connectionString: string) => ({
  DATABASE_URL: connectionString,
  KAFKA_BROKERS: rig.kafka.brokers,
  VITAL_HTTP_PORT: '0',
  ...variables
})

/** An export in this process, stopped with the test. */
export const startExport = (t: Test, given: Readonly<Record<string, string>>, limits: Partial<ExportLimits> = {}) =>
  startReader(t, (options) => createExport({ ...options, limits }), given)

/** An export as a process of its own, to be killed, or measured. */
export const spawnExport = (t: Test, variables: Record<string, string>) =>
  spawnGateway(t, variables, { program: 'scripts/vital-gateway.ts', args: ['export'], flags: readV8Flags() })

/** Whether exports have written all records of the log. */
export const isExported = (rig: Pick<Rig, 'ends'>, query: TestDatabase['query']) => isWritten(rig, query, 'vital-export')
