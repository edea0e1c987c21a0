import pg from 'pg'

/** Lets no transaction write readings, until it is released: batches that are under way stay so. */
export async function holdReadings (connectionString: string): Promise<() => Promise<void>> {
  const client = new pg.Client({ connectionString, application_name: 'vital-chaos' })
  client.on('error', () => { /* PostgreSQL was killed meanwhile. */ })
  await client.connect()
  await client.query('begin')
  await client.query('lock table readings in share row exclusive mode')
  return async () => { await client.end().catch(() => {}) }
}
