/** A version that the gateway is tried on. Versions are those of npm packages, pinned, so that a run can be repeated. */
export interface Row {
  readonly name: string
  readonly kind: 'postgres' | 'pooler' | 'node'
  readonly version: string
  /** Too old: the start has to fail with a message that says so. */
  readonly refused?: RegExp
}

export const ROWS: readonly Row[] = [
  { name: 'postgres-13', kind: 'postgres', version: '13.23.0-beta.16', refused: /is PostgreSQL 13.*needs 14 or later/ },
  { name: 'postgres-14', kind: 'postgres', version: '14.23.0-beta.17' },
  { name: 'postgres-15', kind: 'postgres', version: '15.18.0-beta.17' },
  { name: 'postgres-16', kind: 'postgres', version: '16.14.0-beta.17' },
  { name: 'postgres-17', kind: 'postgres', version: '17.10.0-beta.17' },
  { name: 'postgres-18', kind: 'postgres', version: '18.4.0-beta.17' },
  // The version is that of the server behind it.
  { name: 'pgbouncer', kind: 'pooler', version: '18.4.0-beta.17' },
  { name: 'node-18', kind: 'node', version: '18.20.8', refused: /needs Node\.js 20\.19 or newer.*18\.20\.8/ },
  { name: 'node-20.18', kind: 'node', version: '20.18.3', refused: /needs Node\.js 20\.19 or newer.*20\.18\.3/ },
  { name: 'node-20.19', kind: 'node', version: '20.19.0' },
  { name: 'node-20', kind: 'node', version: '20.20.2' },
  { name: 'node-22', kind: 'node', version: '22.23.5' },
  { name: 'node-24', kind: 'node', version: '24.22.3' }
]

/** The tests of storage and ingest; each makes databases of its own. */
export const TESTS: readonly string[] = [
  'test/db/database.test.ts', 'test/db/json-order.test.ts', 'test/db/migrate.test.ts',
  'test/db/partitions.test.ts', 'test/db/principals.test.ts', 'test/db/retention.test.ts', 'test/db/sqlstate.test.ts',
  'test/db/store.test.ts',
  'test/ingest/journal/circuit.test.ts', 'test/ingest/simulation/simulation.test.ts',
  'test/operations/erasure.test.ts', 'test/gateway.test.ts', 'test/ingest/outage.test.ts',
  'test/http/reads.test.ts', 'test/reads/latest-order/read-your-write.test.ts'
]

/**
 * Not through a pooler: they look at sessions, logs and settings of direct connections (`ALTER DATABASE … SET` reaches those of a
 * pooler after RECONNECT), and at pages from memory, which a gateway behind a pooler does not have.
 */
const DIRECT_TESTS: ReadonlySet<string> = new Set([
  'test/db/database.test.ts', 'test/db/retention.test.ts', 'test/ingest/journal/circuit.test.ts',
  'test/reads/latest-order/read-your-write.test.ts'
])

export function testsOf ({ kind }: Row): readonly string[] {
  return kind === 'pooler' ? TESTS.filter((path) => !DIRECT_TESTS.has(path)) : TESTS
}
