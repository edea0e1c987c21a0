import t from 'tap'
import Type from 'typebox'
import { Compile } from 'typebox/compile'
import { toFaults, toPointerToken } from '../../schemas/fault.ts'
import { parseEnvironment } from '../../schemas/environment.ts'
import { exactly } from '../helpers/exactly.ts'

t.test('pointer tokens are escaped', async (t) => {
  t.equal(toPointerToken('a/b~c'), 'a~1b~0c')
  t.equal(toPointerToken('~1'), '~01')
})

t.test('one fault for each missing or wrong property', async (t) => {
  const check = Compile(Type.Object({ a: Type.Number(), 'b/c': Type.String(), d: Type.Enum(['x', 'y']), e: Type.Integer({ maximum: 5 }) }))
  t.strictSame(toFaults(check.Errors({ d: 'z', e: 6 }), '/7').sort((a, b) => a.path < b.path ? -1 : 1), [
    { path: '/7/a', message: 'is required' },
    { path: '/7/b~1c', message: 'is required' },
    { path: '/7/d', message: 'must be one of x, y' },
    { path: '/7/e', message: 'must be <= 5' }
  ])
  t.strictSame(toFaults(check.Errors('x')), [{ path: '', message: 'must be a JSON object' }])
})

t.test('an unknown name is one fault', async (t) => {
  const check = Compile(Type.Object({ a: Type.Optional(Type.Number()) }, { additionalProperties: false }))
  t.strictSame(toFaults(check.Errors({ a: 1, b: 2 })), [{ path: '/b', message: 'is not a known name' }])
})

t.test('every unknown variable is one fault', async (t) => {
  t.match(parseEnvironment({ VITAL_FOO: '1' }), { faults: exactly({ path: '/VITAL_FOO', message: 'is not a known name' }) })
  const parsed = parseEnvironment(Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`VITAL_FOO_${i}`, '1'])))
  t.equal('faults' in parsed && parsed.faults.length, 12)
})
