import { appendFile, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { createErasureJournal, ERASURES_FILE, parseErasures, readErasures, toErasuresSince } from '../../src/operations/erasure-journal.ts'
import { exactly } from '../helpers/exactly.ts'
import { createTestDir } from '../helpers/postgres.ts'

const line = (act: string, id: string, device?: string) => JSON.stringify({
  act,
  id,
  at: '2026-01-01T00:00:00.000Z',
  ...device === undefined
    ? {}
    : { device }
})

t.test('an erasure is recorded before anything is deleted, and its end afterwards', async (t) => {
  const dir = await createTestDir(t)
  const path = join(dir, ERASURES_FILE)
  const journal = createErasureJournal(dir)
  t.same(await readErasures(path), [], 'no file before the first erasure')
  t.equal(await journal.record('a', 'cli:me', async () => {
    t.match(parseErasures(await readErasures(path)), exactly({ device: 'a', outcome: 'open' }))
    return 7
  }), 7)
  await t.rejects(journal.record('b', 'cli:me', async () => { throw new Error('refused') }), { message: 'refused' })
  t.match(parseErasures(await readErasures(path)), exactly({ device: 'a', outcome: 'done' }, { device: 'b', outcome: 'failed' }))
  t.equal((await stat(path)).mode & 0o777, 0o600)
})

t.test('an erasure that a process did not finish counts as failed for the next one; a torn line affects no other line', async (t) => {
  const dir = await createTestDir(t)
  const path = join(dir, ERASURES_FILE)
  await appendFile(path, `${line('begin', '1', 'a')}\n{"act":"begin","id":"2","dev`)
  await createErasureJournal(dir).record('c', 'cli:me', async () => {})
  t.match(parseErasures(await readErasures(path)), exactly({ device: 'a', outcome: 'failed' }, { device: 'c', outcome: 'done' }))
  t.equal((await readFile(path, 'utf8')).split('\n').length, 6)
})

t.test('nothing is erased while the journal cannot be written', async (t) => {
  const journal = createErasureJournal(join(await createTestDir(t), 'gone'))
  await t.rejects(journal.record('a', 'cli:me', async () => { t.fail('it ran') }), { code: 'ENOENT' })
})

t.test('erasures that a restore must repeat are found', (t) => {
  const before = [line('begin', '1', 'done'), line('done', '1'), line('begin', '2', 'failed'), line('failed', '2'), line('begin', '3',
    'under-way')]
  const now = [...before, line('done', '3'), line('begin', '4', 'later'), line('done', '4'), line('begin', '5',
    'later-and-failed'), line('failed', '5'), line('begin', '6', 'later')]
  t.same(toErasuresSince(before, now), { devices: ['under-way', 'later', 'later-and-failed'], isSameJournal: true })
  t.same(toErasuresSince(before, before), { devices: ['under-way'], isSameJournal: true })
  t.same(toErasuresSince(before, now.slice(6)), { devices: ['later', 'later-and-failed'], isSameJournal: false },
    'all of a journal of its own')
  t.same(toErasuresSince([], []), { devices: [], isSameJournal: true })
  t.end()
})
