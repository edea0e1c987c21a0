import pg from 'pg'
import { pino } from 'pino'
import t from 'tap'
import { createDatabase } from '../../../db/database.ts'
import { createStore } from '../../../db/store.ts'
import { Circuit, type CircuitState } from '../../../src/ingest/journal/circuit.ts'
import { createPostgresTarget } from '../../../src/ingest/journal/postgres-target.ts'
import { createTestDatabase } from '../../helpers/postgres.ts'
import { until } from '../../helpers/until.ts'

const SESSIONS = 3

t.test('read-only opens the circuit, and writable again closes it, however many sessions began read-only', async (t) => {
  const { connectionString } = await createTestDatabase(t)
  const database = createDatabase({ connectionString, poolSize: 10, logger: pino({ level: 'silent' }) })
  t.teardown(() => database.close())
  const url = new URL(connectionString)
  const name = url.pathname.slice(1)
  // From another database, because a read-only session could not undo it.
  const admin = new pg.Client({ connectionString: Object.assign(url, { pathname: '/postgres' }).href })
  await admin.connect()
  t.teardown(() => admin.end())

  const seen: CircuitState[] = []
  const circuit = new Circuit({
    target: createPostgresTarget({
      store: createStore(database), pool: database.pool, logger: pino({ level: 'silent' })
    }),
    logger: pino({ level: 'silent' }),
    hasBacklog: () => false,
    onChange: (state) => { seen.push(state) }
  })
  const untilState = (state: CircuitState) => until(() => circuit.state === state, `the circuit to be ${state}`)
  t.teardown(() => { circuit.stop() })
  t.equal(circuit.state, 'open', 'until the database was made ready')
  circuit.prove()
  t.equal(circuit.state, 'closed')
  circuit.start()

  await admin.query(`alter database ${name} set default_transaction_read_only = on`)
  // Sessions that began before may write until they end.
  await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [name])
  await untilState('open')

  const clients = await Promise.all(Array.from({ length: SESSIONS }, () => database.pool.connect()))
  for (const client of clients) {
    t.same((await client.query('show transaction_read_only')).rows, [{ transaction_read_only: 'on' }])
    client.release()
  }
  await admin.query(`alter database ${name} reset default_transaction_read_only`)
  await untilState('closed')
  t.same(seen, ['half-open', 'closed', 'open', 'half-open', 'closed'])
})
