import t from 'tap'
import { Compile } from 'typebox/compile'
import Type from 'typebox'
import { LatestQuerySchema, ReadySchema, type Resource, ResourceListSchema } from '../../schemas/vital-data.ts'
import { compileQuery } from '../../src/http/validator.ts'
import { exactly } from '../helpers/exactly.ts'

t.test('a page has the schema of its documentation', async (t) => {
  const check = Compile(ResourceListSchema)
  const resource: Resource = {
    deviceId: 'a', timestamp: 1.5, heartRate: null, breathRate: 14, vitals: { x: [null, {}] }, vitalTimestamps: { x: 1 }
  }
  t.ok(check.Check({ total: 1, resources: [resource], next: null }))
  t.ok(check.Check({ total: 2, resources: [resource], next: 'eyJ9' }))
  t.notOk(check.Check({ total: 1, resources: [{ ...resource, timestamp: '1' }], next: null }))
  t.notOk(check.Check({ total: 1, resources: [{ ...resource, extra: 1 }], next: null }))
})

t.test('readiness has the schema of its documentation', async (t) => {
  const check = Compile(ReadySchema)
  const answer = { status: 'ready', database: { status: 'up' }, spool: { status: 'ok', bytes: 0, bytesMax: 1 }, warnings: [] }
  t.ok(check.Check(answer))
  t.notOk(check.Check({ ...answer, status: 'fine' }))
})

t.test('a query has a default for each name', async (t) => {
  t.strictSame(compileQuery(LatestQuerySchema)({}), { value: { count: 20, offset: 0, sortBy: 'timestamp', orderBy: 'desc' } })
})

t.test('only integers are converted', async (t) => {
  const check = compileQuery(Type.Object({ name: Type.String({ default: '' }), count: Type.Integer({ default: 1 }) }))
  t.strictSame(check({ name: '5', count: '5' }), { value: { name: '5', count: 5 } })
  for (const count of ['05', '-0', '5.0', '5 ', '٥', '1_000', '99999999999999999']) {
    t.match(check({ count }),
      { faults: exactly({ path: '/count' }) }, count)
  }
})
