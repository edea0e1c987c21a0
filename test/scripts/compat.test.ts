import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ROWS, selectRows, TESTS } from '../../scripts/compat/rows.ts'
import { runCompat } from '../../scripts/compat/run.ts'
import { runOperatorScript } from '../helpers/operator.ts'

t.test('rows by name', (t) => {
  t.equal(selectRows(undefined), ROWS)
  t.same(selectRows('node-24,postgres-14').map(({ name }) => name), ['node-24', 'postgres-14'])
  t.throws(() => selectRows('postgres-19'), /there is no such row; known are postgres-13, postgres-14/)
  t.end()
})

t.test('the tests that it runs are there', async (t) => {
  for (const path of TESTS) t.ok(existsSync(join(import.meta.dirname, '../..', path)), path)
  await t.rejects(runCompat(['--only', 'x', '--results', 'none']), /no such row/)
})

t.test('its help', async (t) => {
  const { status, stdout } = await runOperatorScript(t, 'compat', ['--help'], {}, import.meta.dirname)
  t.equal(status, 0)
  t.match(stdout, /npm run compat[^]*postgres-14/)
})
