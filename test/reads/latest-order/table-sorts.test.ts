import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import type { LatestPage } from '../../../db/queries/resource-columns.ts'
import type { LatestQuery } from '../../../schemas/vital-data.ts'
import { classifyError } from '../../../db/sqlstate.ts'
import { createTableSorts } from '../../../src/reads/latest-order/table-sorts.ts'

const page = (offset: number): LatestQuery => ({ sortBy: 'heartRate', orderBy: 'desc', offset, count: 20 })

/** Sorts that the test ends. */
function createSorts (waitMaxMs?: number) {
  const begun: Array<{ readonly offset: number, readonly end: (error?: Error) => void }> = []
  const sort = createTableSorts(({ offset }) => new Promise<LatestPage>((resolve, reject) => {
    begun.push({ offset, end: (error) => error === undefined ? resolve({ total: offset, resources: [] }) : reject(error) })
  }), waitMaxMs)
  return { sort, begun, offsets: () => begun.map(({ offset }) => offset) }
}

t.test('sorts run one at a time, in the order in which they were asked for', async (t) => {
  const { sort, begun, offsets } = createSorts()
  const pages = [1, 2, 3].map((offset) => sort(page(offset)))
  await sleep(5)
  t.same(offsets(), [1])
  begun[0]?.end()
  await pages[0]
  await sleep(5)
  t.same(offsets(), [1, 2])
  begun[1]?.end(new Error('statement timeout'))
  await t.rejects(pages[1]!, { message: 'statement timeout' })
  await sleep(5)
  t.same(offsets(), [1, 2, 3], 'a failing sort does not stop the others')
  begun[2]?.end()
  t.equal((await pages[2]!).total, 3)
})

t.test('a waiting sort is shared, a running one is not, because it may lack readings acknowledged since', async (t) => {
  const { sort, begun, offsets } = createSorts()
  const first = sort(page(1))
  await sleep(5)
  const pages = [sort(page(1)), sort(page(1)), sort({
    ...page(1), count: 1
  }), sort({ ...page(1), orderBy: 'asc' }), sort({ ...page(1), sortBy: 'timestamp' })]
  begun[0]?.end()
  await first
  for (let n = 1; n <= 4; n++) {
    await sleep(5)
    t.equal(offsets().length, n + 1)
    begun[n]?.end()
  }
  await Promise.all(pages)
  t.equal(offsets().length, 5, 'two equal sorts ran once')
})

t.test('a request that waits too long is refused with Retry-After, and its query is not sent', async (t) => {
  const { sort, begun, offsets } = createSorts(20)
  const first = sort(page(1))
  const error: unknown = await sort(page(2)).catch((reason: unknown) => reason)
  t.match(error, { code: 'VITAL_READS_BUSY' })
  t.equal(classifyError(error), 'retry', 'over HTTP 503')
  begun[0]?.end()
  await first
  await sleep(5)
  t.same(offsets(), [1])
  const last = sort(page(3))
  await sleep(5)
  begun[1]?.end()
  t.equal((await last).total, 3)
})

t.test('a page is released once it is answered', async (t) => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const pages: Array<WeakRef<LatestPage>> = []
  const sort = createTableSorts(async () => {
    const list = { total: 1, resources: [] }
    pages.push(new WeakRef(list))
    return list
  })
  for (let offset = 0; offset < 10; offset++) await sort(page(offset))
  await sleep(5)
  collect()
  t.equal(pages.filter((list) => list.deref() !== undefined).length, 0)
  await sort(page(10))
})
