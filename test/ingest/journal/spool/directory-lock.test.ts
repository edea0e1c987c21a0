import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { lockDirectory } from '../../../../src/ingest/journal/spool/directory-lock.ts'
import { startChild } from './process.ts'

t.setTimeout(120_000)

const inUse = { code: 'VITAL_SPOOL_IN_USE' }

t.test('a directory has one holder, also within a process', async (t) => {
  const directory = t.testdir()
  const unlock = await lockDirectory(directory)
  await t.rejects(lockDirectory(directory), { ...inUse, message: `process ${process.pid}` })
  await unlock()
  const again = await lockDirectory(directory)
  await again()
  t.same(await readdir(directory), [], 'nothing is left behind')
})

t.test('of many concurrent attempts at most one succeeds', async (t) => {
  const directory = t.testdir()
  let won = 0
  for (let round = 0; round < 5; round++) {
    const results = await Promise.allSettled(Array.from({ length: 6 }, () => lockDirectory(directory)))
    const locks = results.filter((result) => result.status === 'fulfilled')
    t.ok(locks.length <= 1, `${locks.length} hold it`)
    won += locks.length
    for (const { value } of locks) await value()
  }
  t.ok(won > 0, `${won} of 5 rounds had a winner`)
})

t.test('a killed process gives up the directory, a frozen one does not', async (t) => {
  const directory = t.testdir()
  const holder = startChild(t, [directory])
  await holder.line('open')
  await t.rejects(lockDirectory(directory), { ...inUse, message: `process ${holder.child.pid}` })
  holder.child.kill('SIGSTOP')
  await t.rejects(lockDirectory(directory), inUse)
  await holder.kill()
  t.equal((await readdir(directory)).length, 1, 'its socket is still there')
  const unlock = await lockDirectory(directory)
  t.teardown(unlock)
  t.equal((await readdir(directory)).length, 1, 'and was replaced by ours')
})

t.test('of processes that start together over the socket of a dead one, at most one gets the directory', async (t) => {
  const directory = t.testdir()
  const dead = startChild(t, [directory])
  await dead.line('open')
  await dead.kill()
  const children = Array.from({ length: 4 }, () => startChild(t, [directory]))
  const outcomes = await Promise.all(children.map(async ({ line }) => await Promise.race([line('open'), line('refused')])))
  t.ok(outcomes.filter((outcome) => outcome === 'open').length <= 1, outcomes.join(' | '))
  for (const outcome of outcomes) t.match(outcome, /^open|^refused VITAL_SPOOL_IN_USE/)
})

t.test('a directory can be locked although its path is too long for a socket', async (t) => {
  const directory = join(t.testdir(), 'd'.repeat(200))
  await mkdir(directory)
  const unlock = await lockDirectory(directory)
  await t.rejects(lockDirectory(directory), inUse)
  await unlock()
  t.same(await readdir(directory), [])
})
