import type { Pool, PoolClient, QueryConfig } from 'pg'
import { createWriter, type WriterOptions } from './postgres-writer.ts'
import type { Target } from './target.ts'

/** A server that hangs must not delay a ping, and so the circuit, longer than this. */
const PING_TIMEOUT_MS = 1000

interface PostgresTargetOptions extends WriterOptions {
  /** Connections for pings. */
  readonly pool: Pool
  /** Receives PostgreSQL's time in Unix milliseconds, and the time of the request in monotonic ones. */
  readonly onClock?: (postgresMs: number, sentAtMs: number) => void
}

/** PostgreSQL as the journal's target. */
export function createPostgresTarget ({ pool, onClock, ...options }: PostgresTargetOptions): Target {
  async function ping (): Promise<void> {
    const client = await pool.connect()
    let failure: Error | undefined
    try {
      // A read-only server (a standby, a full stop of writes) answers every SELECT.
      const { readOnly } = await readPing(client, onClock)
      if (readOnly !== 'off') throw new Error('PostgreSQL is read-only')
    } catch (error) {
      failure = error as Error
      throw error
    } finally {
      // A session keeps the default_transaction_read_only that it began with, and the pings keep it from being closed
      // as idle. So a ping that fails also ends its session, until a new session may write.
      client.release(failure)
    }
  }

  return { name: 'PostgreSQL', outcome: 'stored', write: createWriter(options).write, ping, warnings: () => [] }
}

async function readPing (
  client: PoolClient, onClock: PostgresTargetOptions['onClock']
): Promise<{ readonly readOnly: string | undefined }> {
  const sentAtMs = performance.now()
  const { rows: [row] } = await client.query<{ read_only: string, now_ms: number | null }>({
    text: 'select current_setting(\'transaction_read_only\') as read_only, (extract(epoch from clock_timestamp()) * ' +
      '1000)::float8 as now_ms',
    query_timeout: PING_TIMEOUT_MS
  } as QueryConfig)
  if (typeof row?.now_ms === 'number') onClock?.(row.now_ms, sentAtMs)
  return { readOnly: row?.read_only }
}
