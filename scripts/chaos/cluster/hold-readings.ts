import pg from 'pg'

/** Keeps every transaction from writing readings until it is released: batches under way wait. */
export async function holdReadings (connectionString: string): Promise<() => Promise<void>> {
  const client = new pg.Client({ connectionString, application_name: 'vital-chaos' })
  client.on('error', () => { /* PostgreSQL was killed meanwhile. */ })
  await client.connect()
  await client.query('begin')
  await client.query('lock table readings in share row exclusive mode')
  return async () => { await client.end().catch(() => {}) }
}
