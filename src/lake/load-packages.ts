import type * as s3 from '@aws-sdk/client-s3'
import type * as duckdb from '@duckdb/node-api'
import packageJson from '../../package.json' with { type: 'json' }
import { ConfigError } from '../config/config-error.ts'

/** The client of S3, as its package exports it. */
export type S3Library = typeof s3
/** DuckDB, as its package exports it. */
export type DuckDbLibrary = typeof duckdb

/**
 * Loads the client of S3. Nothing else imports it, so a process without a lake does not load it.
 * @throws `ConfigError` if the package is not installed
 */
export const loadS3 = (): Promise<S3Library> => load('@aws-sdk/client-s3', () => import('@aws-sdk/client-s3'))

/** The same for DuckDB. */
export const loadDuckDb = (): Promise<DuckDbLibrary> => load('@duckdb/node-api', () => import('@duckdb/node-api'))

async function load<Library> (name: '@aws-sdk/client-s3' | '@duckdb/node-api', imported: () => Promise<Library>): Promise<Library> {
  try {
    return await imported()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new ConfigError('vital-gateway lake needs packages that are not installed: npm install ' +
      `@platformatic/kafka@${packageJson.peerDependencies['@platformatic/kafka']} ` +
      `@aws-sdk/client-s3@${packageJson.peerDependencies['@aws-sdk/client-s3']} ` +
      `@duckdb/node-api@${packageJson.peerDependencies['@duckdb/node-api']}`, { cause: error })
  }
}
