import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { STORAGE_ERROR_CODES } from '../../db/storage-error.ts'

t.test('the README lists every code, and no other', async (t) => {
  const readme = await readFile(join(import.meta.dirname, '../../db/README.md'), 'utf8')
  t.same([...readme.matchAll(/^\| `(VITAL_\w+)`/gm)].map(([, code]) => code), [...STORAGE_ERROR_CODES])
})
