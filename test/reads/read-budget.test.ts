import { setTimeout as sleep } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import t from 'tap'
import { classifyError } from '../../db/sqlstate.ts'
import type { Tables } from '../../db/tables.ts'
import { createReadBudget, type ReadBudgetOptions } from '../../src/reads/read-budget.ts'

/** A budget with queries that the test ends. */
function createBudget (options: Partial<ReadBudgetOptions> = {}) {
  const begun: Array<{ readonly name: string, readonly end: () => void }> = []
  const budget = createReadBudget({ kysely: {} as Kysely<Tables>, queriesMax: 2, waitMaxMs: 1e6, ...options })
  const toQuery = (name: string) => () => new Promise<string>((resolve) => { begun.push({ name, end: () => { resolve(name) } }) })
  return { budget, begun, toQuery, names: () => begun.map(({ name }) => name).join(' ') }
}

t.test('concurrent queries are bounded, and the others run in their order of arrival', async (t) => {
  const { budget, begun, toQuery, names } = createBudget()
  const reads = ['a', 'b', 'c', 'd'].map((name) => budget.query(toQuery(name)))
  await sleep(1)
  t.equal(names(), 'a b')
  t.equal(budget.waiting, 2)
  begun[1]?.end()
  await reads[1]
  await sleep(1)
  t.equal(names(), 'a b c')
  begun[0]?.end()
  await reads[0]
  await sleep(1)
  t.equal(names(), 'a b c d')
  for (const { end } of begun) end()
  t.same(await Promise.all(reads), ['a', 'b', 'c', 'd'])
  t.equal(budget.refused, 0)
})

t.test('a read whose turn does not come in time is refused, and its query is not sent', async (t) => {
  const { budget, begun, toQuery, names } = createBudget({ queriesMax: 1, waitMaxMs: 5, waitingMax: 2 })
  const first = budget.query(toQuery('first'))
  const patient = budget.background(toQuery('patient'))
  const late = budget.query(toQuery('late'))
  await t.rejects(budget.query(toQuery('one too many')), { code: 'VITAL_READS_BUSY', message: /2 others wait/ })
  const error: unknown = await late.catch((reason: unknown) => reason)
  t.match(error, { code: 'VITAL_READS_BUSY' })
  t.equal(classifyError(error), 'retry')
  t.equal(budget.refused, 2)
  begun[0]?.end()
  await first
  await sleep(1)
  t.equal(names(), 'first patient', 'background queries do not give up')
  begun[1]?.end()
  t.equal(await patient, 'patient')
})

t.test('a query that fails releases its turn', async (t) => {
  const { budget } = createBudget({ queriesMax: 1 })
  for (let n = 0; n < 3; n++) {
    await t.rejects(budget.query(() => Promise.reject(new Error('statement timeout'))),
      { message: 'statement timeout' })
  }
  t.equal(await budget.query(() => Promise.resolve(1)), 1)
})

t.test('nothing is read while answers use up the memory', async (t) => {
  const { budget, toQuery, names, begun } = createBudget({ bytesMax: 100 })
  const release = budget.hold(60)
  const releaseMore = budget.hold(60)
  t.equal(budget.bytes, 120)
  const read = budget.query(toQuery('a'))
  await sleep(1)
  t.equal(names(), '')
  release()
  release()
  t.equal(budget.bytes, 60, 'released once')
  await sleep(1)
  t.equal(names(), 'a')
  begun[0]?.end()
  await read
  releaseMore()
  t.equal(budget.bytes, 0)
})

t.test('large answers are bounded in number, and each holds one slice until the next', async (t) => {
  const { budget } = createBudget({ largeMax: 2 })
  const [one, two] = [await budget.openLarge(), await budget.openLarge()]
  let third: Awaited<ReturnType<typeof budget.openLarge>> | null = null
  const opened = budget.openLarge().then((read) => { third = read })
  let underWay = 0
  let most = 0
  const slice = (bytes: number) => async () => {
    most = Math.max(most, ++underWay)
    await sleep(3)
    underWay--
    return bytes
  }
  await Promise.all([one.slice(slice(10), (bytes) => bytes), two.slice(slice(20), (bytes) => bytes)])
  t.equal(most, 1)
  t.equal(budget.bytes, 30)
  await one.slice(slice(5), (bytes) => bytes)
  t.equal(budget.bytes, 25, 'the earlier slice is no longer held')
  t.equal(third, null)
  one.close()
  one.close()
  await opened
  t.not(third, null)
  t.equal(budget.bytes, 20)
  two.close()
  t.equal(budget.bytes, 0)
})

t.test('rows fetched for an abandoned answer are not held', async (t) => {
  const { budget, toQuery, begun } = createBudget()
  const read = await budget.openLarge()
  const slice = read.slice(toQuery('a'), () => 1000)
  await sleep(1)
  read.close()
  begun[0]?.end()
  await slice
  t.equal(budget.bytes, 0)
})
