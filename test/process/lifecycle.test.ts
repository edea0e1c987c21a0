import t from 'tap'
import { createLifecycle } from '../../src/process/lifecycle.ts'

t.test('an end that fails does not keep the others from being run, and the first error is told', async (t) => {
  const { start, stop, onStop } = createLifecycle()
  const ended: string[] = []
  await start(async () => {
    onStop(() => { ended.push('first') })
    onStop(async () => { throw new Error('second') })
    onStop(() => { ended.push('third') })
    onStop(() => { throw new Error('fourth') })
    onStop(() => { ended.push('fifth') })
  })
  await t.rejects(stop(), /fourth/)
  t.strictSame(ended, ['fifth', 'third', 'first'])
  await t.rejects(stop(), /fourth/, 'for each caller')
  t.strictSame(ended.length, 3, 'and nothing ends twice')
})

t.test('the error of a start is told, also when an end fails behind it', async (t) => {
  const { start, onStop } = createLifecycle()
  let ended = false
  await t.rejects(start(async () => {
    onStop(() => { ended = true })
    onStop(() => { throw new Error('an end') })
    throw new Error('the start')
  }), /the start/)
  t.ok(ended)
})
