import { pino } from 'pino'
import t from 'tap'
import { createQuery, OwnPostgres } from '../../../scripts/harness/own-postgres.ts'
import { createTestDir } from '../../helpers/postgres.ts'
import { until } from '../../helpers/until.ts'

t.test('a replica follows, also after either was killed', async (t) => {
  const dir = await createTestDir(t)
  const primary = await OwnPostgres.create(dir, pino({ level: 'silent' }))
  t.teardown(() => primary.stop('SIGQUIT'))
  const write = createQuery(primary.url)
  const read = async () => (await createQuery(replica.url)('select id from beds')).length
  await write('create table beds (id int)')
  const replica = await primary.replicate(dir)
  t.teardown(() => replica.stop('SIGQUIT'))
  await write('insert into beds values (1)')
  await until(async () => await read() === 1, 'the first row')
  await replica.stop('SIGKILL')
  await write('insert into beds values (2)')
  await replica.start()
  await until(async () => await read() === 2, 'what was written while it was away')
  await primary.stop('SIGKILL')
  t.equal(await read(), 2, 'it answers without the primary')
  await primary.start()
  await write('insert into beds values (3)')
  await until(async () => await read() === 3, 'the primary is back')
  await t.rejects(createQuery(replica.url)('insert into beds values (4)'), { code: '25006' }, 'it is read-only')
})
