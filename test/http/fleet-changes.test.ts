import t from 'tap'
import type { ReadingRow } from '../../db/rows.ts'
import { createFleetChanges } from '../../src/http/page/fleet-changes.ts'
import { exactly } from '../helpers/exactly.ts'

interface Answer {
  readonly position: string
  readonly missed: boolean
  readonly fields: readonly string[]
  readonly devices: ReadonlyArray<readonly unknown[]>
  readonly rejections: ReadonlyArray<Readonly<Record<string, unknown>>>
}

const NOW_S = 1_764_460_000

const toRow = (device: string, timeS: number, fields: Record<string, unknown>): ReadingRow =>
  ({ device, timeUs: timeS * 1e6, hash: '', vitals: '', fields, receivedAtMs: NOW_S * 1000 })

function createChanges (limits: NonNullable<Parameters<typeof createFleetChanges>[0]>['limits'] = {}) {
  let nowMs = 0
  const changes = createFleetChanges({ limits, monotonicMs: () => nowMs })
  return {
    ...changes,
    pass (ms: number): void { nowMs += ms },
    ask: (position?: string) => JSON.parse(changes.since(position)) as Answer
  }
}

t.test('readings of a device between two answers are one entry, with the newest value of each vital sign', (t) => {
  const changes = createChanges()
  changes.observe([toRow('ward-3', NOW_S, { heartRateValue: 60 })])
  const first = changes.ask()
  t.match(first, { missed: true, devices: exactly() }, 'nothing is gathered before the first request, whose page is told to read all')
  changes.observe([toRow('ward-3', NOW_S - 4, { heartRateValue: 61, spo2Value: 97 }), toRow('ward-3', NOW_S - 2, { heartRateValue: 62 })])
  changes.observe([toRow('ward-3', NOW_S - 3, { heartRateValue: 99, note: 'late' }), toRow('w "4"', NOW_S + 7200, { heartRateValue: 50 })])
  t.same(changes.ask(first.position).devices, [], 'pages that ask within a second share an answer')
  changes.pass(1000)
  const { fields, devices, position, missed } = changes.ask(first.position)
  t.equal(missed, false)
  const at = (field: string, given: unknown) => (given as unknown[])[fields.indexOf(field)]
  const [ward3, ward4] = devices
  t.same(ward3!.slice(0, 4), ['ward-3', NOW_S - 4, NOW_S - 2, 3])
  t.same([at('heartRateValue', ward3![4]), at('spo2Value', ward3![4]), at('temperatureValue', ward3![4])], [62, 97, null])
  t.same([at('heartRateValue', ward3![5]), at('spo2Value', ward3![5])], [NOW_S - 2, NOW_S - 4])
  t.same(ward4!.slice(0, 4), ['w "4"', NOW_S, NOW_S, 1], 'a time ahead of its receipt counts as of its receipt')
  t.equal(ward4!.length, 5, 'times equal to the time of the newest reading are left out')

  changes.observe([toRow('ward-3', NOW_S, { heartRateValue: 63 })])
  changes.pass(1000)
  t.match(changes.ask(position).devices, exactly(['ward-3', NOW_S, NOW_S, 1]))
  t.equal(changes.ask(first.position).devices.length, 3, 'another page gets both chunks')
  t.end()
})

t.test('each device has its newest rejection, and of many devices the newest are kept', (t) => {
  const changes = createChanges({ rejectionsMax: 2 })
  const { position } = changes.ask()
  const toRejection = (receivedAt: number) => ({ reason: 'invalid_json' as const, errors: [], receivedAt })
  for (const [index, device] of ['a', 'b', 'a', 'c'].entries()) changes.rejected(device, toRejection(index))
  changes.pass(1000)
  t.same(changes.ask(position).rejections, [{ device: 'a', ...toRejection(2) }, { device: 'c', ...toRejection(3) }])
  t.end()
})

t.test('a position that is no longer known is answered with missed', (t) => {
  const changes = createChanges({ charactersMax: 200 })
  const { position } = changes.ask()
  t.equal(changes.ask(position).missed, false)
  for (const wrong of ['', 'x', `${position}7`, position.replace(/^./, (first) => first === '0' ? '1' : '0')]) {
    t.equal(changes.ask(wrong).missed, true, wrong)
  }
  const observeAll = (...devices: string[]) => { changes.observe(devices.map((device) => toRow(device, NOW_S, { heartRateValue: 60 }))) }
  observeAll('a', 'b')
  changes.pass(1000)
  const second = changes.ask(position)
  t.equal(second.devices.length, 2)
  observeAll('a', 'b')
  changes.pass(1000)
  t.equal(changes.ask(position).missed, true, 'the oldest chunk was dropped for room')
  t.equal(changes.ask(second.position).missed, false)
  const third = changes.ask()
  observeAll('a')
  changes.forget('a')
  changes.pass(1000)
  t.match(changes.ask(third.position), { missed: true, devices: exactly() }, 'a device was erased')
  const fourth = changes.ask()
  changes.pass(40_000)
  observeAll('a')
  t.match(changes.ask(fourth.position), { missed: true, devices: exactly() }, 'no page has asked for long')
  t.end()
})

t.test('answers are kept for other pages, up to a bound of all together', (t) => {
  let nowMs = 0
  const changes = createFleetChanges({ limits: { answersCharactersMax: 4000 }, monotonicMs: () => nowMs })
  const ask = (position?: string) => changes.since(position)
  const positionOf = (answer: string) => (JSON.parse(answer) as Answer).position
  const positions = [positionOf(ask())]
  for (let round = 0; round < 20; round++) {
    changes.observe(['a', 'b', 'c'].map((device) => toRow(device, NOW_S, { heartRateValue: 60 })))
    nowMs += 1000
    positions.push(positionOf(ask()))
  }
  const answers = positions.map(ask)
  t.ok(answers.join('').length > 20_000)
  t.ok(changes.answersCharacters > 2000 && changes.answersCharacters <= 4000, String(changes.answersCharacters))
  t.strictSame(positions.map(ask), answers, 'an answer that was not kept is made again')
  nowMs += 1000
  ask()
  t.equal(changes.answersCharacters, 0, 'a new chunk makes new answers')
  t.end()
})

t.test('more devices than there is room for make an answer missed, not incomplete', (t) => {
  const changes = createChanges({ devicesMax: 2 })
  const { position } = changes.ask()
  changes.observe(['a', 'b', 'c', 'a'].map((device) => toRow(device, NOW_S, {})))
  changes.pass(1000)
  const next = changes.ask(position)
  t.match(next, { missed: true, devices: exactly() })
  changes.observe([toRow('a', NOW_S, {})])
  changes.pass(1000)
  t.match(changes.ask(next.position), { missed: false, devices: exactly(['a']) })
  t.end()
})
