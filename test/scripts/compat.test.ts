import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { TESTS } from '../../scripts/compat/rows.ts'
import { runCommandLine } from '../helpers/command-line.ts'

t.test('the test files that compat runs exist', async (t) => {
  for (const path of TESTS) t.ok(existsSync(join(import.meta.dirname, '../..', path)), path)
})

t.test('the options of compat', async (t) => {
  t.match(await runCommandLine(['compat', '--help']), { status: 0, stdout: /npm run compat[^]*postgres-14/ })
  t.match(await runCommandLine(['compat', '--only', 'postgres-19']), {
    status: 2, stderr: /--only knows no "postgres-19"; it takes postgres-13, postgres-14/
  })
})
