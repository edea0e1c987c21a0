import t from 'tap'
import { startGateway } from '../helpers/gateway.ts'
import { createTestDatabase } from '../helpers/postgres.ts'

t.test('a month that stays in the default partition is a warning in readiness, also after a restart', async (t) => {
  const { connectionString, query } = await createTestDatabase(t)
  await query("insert into readings values ('a', now(), gen_random_uuid(), '{}', now())")
  const readiness = async (httpUrl: string) => (await (await fetch(`${httpUrl}/health/ready`)).json()) as {
    status: string
    warnings: string[]
  }
  for (let start = 0; start < 2; start++) {
    const gateway = await startGateway(t, { DATABASE_URL: connectionString })
    const { status, warnings } = await readiness(gateway.httpUrl)
    t.equal(status, 'ready')
    t.equal(warnings.filter((warning) => /readings_default holds rows from .* cannot be created/.test(warning)).length, 1)
    await gateway.stop()
  }
  await query('delete from readings_default')
  const { httpUrl } = await startGateway(t, { DATABASE_URL: connectionString })
  t.notMatch((await readiness(httpUrl)).warnings.join(), /readings_default/)
})
