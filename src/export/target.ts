import type { ExportConfig } from '../config/export-config.ts'
import { takeAnswer } from './answers.ts'
import type { Dialect, DialectOptions } from './dialect.ts'
import { createHttpClient, type HttpClientOptions } from './http-client.ts'
import { createInfluxDb } from './influxdb.ts'
import { createQuestDb } from './questdb.ts'
import { createVictoriaMetrics } from './victoriametrics.ts'

const DIALECTS: Readonly<Record<ExportConfig['kind'], (options: DialectOptions) => Dialect>> = {
  influxdb1: createInfluxDb,
  influxdb2: createInfluxDb,
  influxdb3: createInfluxDb,
  victoriametrics: createVictoriaMetrics,
  questdb: createQuestDb
}

/** The time-series database that readings go to. @throws `ConfigError` if the CA file cannot be read */
export async function createTarget (options: HttpClientOptions) {
  const { ask, close } = await createHttpClient(options)
  const dialect = DIALECTS[options.config.kind]({ ask, config: options.config })
  const { path, query } = dialect
  return {
    ...dialect,
    /**
     * @param bytes - lines, compressed by gzip
     * @returns number of points that it dropped because they are beyond its retention; it took all others
     * @throws `ExportError`
     */
    async write (bytes: Buffer): Promise<number> {
      return takeAnswer(await ask({ method: 'POST', path, query, body: { bytes, type: 'text/plain; charset=utf-8', encoding: 'gzip' } }))
    },
    close
  }
}

export type Target = Awaited<ReturnType<typeof createTarget>>
