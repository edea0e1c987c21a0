import { readdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { eraseSetAside } from '../../../../src/ingest/journal/spool/set-aside.ts'
import { createTestDir } from '../../../helpers/postgres.ts'

const toName = (n: number) => `aside-${String(n).padStart(32, '0')}.json`
const toContent = (device: string) => JSON.stringify({ why: 'no', device, reading: { device } })

t.test('a file that is moved away during an erasure counts as gone', async (t) => {
  const directory = await createTestDir(t)
  // It is listed and cannot be read, as a file that is moved away in between.
  await symlink(join(directory, 'moved-away'), join(directory, toName(1)))
  await writeFile(join(directory, toName(2)), toContent('ward-3'))
  await writeFile(join(directory, toName(3)), toContent('ward-4'))
  await eraseSetAside(directory, 'ward-3')
  t.same((await readdir(directory)).sort(), [toName(1), toName(3)])
})
