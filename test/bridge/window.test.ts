import t from 'tap'
import type { Verdict, VitalPublish } from '../../broker/ingest.ts'
import { Window } from '../../src/bridge/window.ts'

const DURABLE: Verdict = { status: 'durable', fanOut: null, rejections: [], elements: 1, isKept: true }
const REFUSED: Verdict = { status: 'unavailable', reason: 'timeout' }

function open () {
  const given: VitalPublish[] = []
  const told: number[][] = []
  const window = new Window({
    clientId: 'bridge', ingest: (publish) => { given.push(publish) }, acknowledge: (ids) => { told.push([...ids]) }, onChange () {}
  })
  const take = (packetId: number) => { window.take({ packetId, topic: 't', device: 'd', payload: Buffer.from('1234') }) }
  return { window, given, told, take, turn: () => new Promise(setImmediate) }
}

t.test('acknowledgements leave in the order of the messages, once those before them are durable', async (t) => {
  const { window, given, told, take, turn } = open()
  for (const packetId of [5, 3, 9]) take(packetId)
  t.same([window.size, window.bytes, window.isHeld(3), window.isHeld(4)], [3, 12, true, false])
  given[1]!.settle(DURABLE)
  given[2]!.settle(DURABLE)
  await turn()
  t.same(told, [])
  given[0]!.settle(DURABLE)
  await turn()
  t.same(told, [[5, 3, 9]], 'in one write')
  t.same([window.size, window.bytes], [0, 0])
})

t.test('messages that could not be made durable are tried again in order; those of QoS 0 are not', async (t) => {
  const { window, given, told, take, turn } = open()
  for (const packetId of [1, 2, 0]) take(packetId)
  for (const publish of given.splice(0)) publish.settle(REFUSED)
  t.ok(window.hasRefused)
  t.equal(window.bytes, 8)
  window.resubmit()
  t.same(given.map((publish) => (publish as unknown as { packetId: number }).packetId), [1, 2])
  for (const publish of given) publish.settle(DURABLE)
  await turn()
  t.same([told, window.hasRefused], [[[1, 2]], false])
})

t.test('a stop writes the acknowledgements that are due, and nothing afterwards', async (t) => {
  const { window, given, told, take, turn } = open()
  for (const packetId of [1, 2, 3]) take(packetId)
  given[0]!.settle(DURABLE)
  given[2]!.settle({ status: 'unavailable', reason: 'stopping' })
  window.close()
  t.same(told, [[1]])
  given[1]!.settle(DURABLE)
  await turn()
  t.same([told, window.size, window.hasRefused], [[[1]], 0, false])
})
