import { readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { realDisk } from '../../../../src/ingest/journal/spool/disk.ts'
import { eraseSetAside } from '../../../../src/ingest/journal/spool/set-aside.ts'
import { openSpool } from '../../../../src/ingest/journal/spool/spool.ts'
import { createSpoolWatch } from '../../../../src/ingest/journal/spool/spool-watch.ts'
import { toReadingRow } from '../../../../src/ingest/reading-row.ts'
import { createTestDir } from '../../../helpers/postgres.ts'

const logger = pino({ level: 'silent' })

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

/** A spool in whose directory so many files lie. */
async function openWithFiles (t: Test, files: number) {
  const directory = await createTestDir(t)
  await Promise.all(Array.from({ length: files }, (_, n) => writeFile(join(directory, toName(n)), toContent('ward-3'))))
  const spool = await openSpool({ directory, bytesMax: 1e9, disk: realDisk, logger })
  t.teardown(() => spool.close())
  return { spool, directory }
}

const toUnit = (heartRateValue: number) => ({
  transport: 'mqtt' as const, clientId: null, readings: [toReadingRow({ timestamp: 1, heartRateValue }, 'ward-3', 1)], letters: []
})

t.test('at 1,000 files nothing more is set aside, until an operator moves some away', async (t) => {
  const { spool, directory } = await openWithFiles(t, 999)
  const name = await spool.keepAside(toUnit(1), 'no')
  await t.rejects(spool.keepAside(toUnit(2), 'no'), { code: 'VITAL_SPOOL_FULL', message: /^1000 readings/ })
  t.equal(await spool.keepAside(toUnit(1), 'no'), name, 'the same reading again needs no further file')
  await Promise.all(Array.from({ length: 999 }, (_, n) => rm(join(directory, toName(n)))))
  await spool.keepAside(toUnit(2), 'no')
  t.equal(spool.setAsideFiles, 2)
})

t.test('the watch of the spool sees that files were moved away', async (t) => {
  const { spool, directory } = await openWithFiles(t, 2)
  t.equal(spool.setAsideFiles, 2)
  await rm(join(directory, toName(0)))
  const watch = createSpoolWatch({ spool, isNeeded: () => false, onChange () {}, logger })
  t.teardown(() => { watch.stop() })
  await watch.start()
  t.equal(spool.setAsideFiles, 1)
})
