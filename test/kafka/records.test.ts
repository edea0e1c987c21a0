import fc from 'fast-check'
import t from 'tap'
import { isDeviceId } from '../../schemas/device-id.ts'
import { toReadingRow } from '../../src/ingest/reading-row.ts'
import { readErasureRecord, toErasureRecord } from '../../src/kafka/erasure-record.ts'
import { readLetterRecord, toLetterRecord } from '../../src/kafka/letter-record.ts'
import { readReadingRecord, toReadingRecord } from '../../src/kafka/reading-record.ts'
import type { OutgoingRecord } from '../../src/kafka/records.ts'
import { readRejectionRecord, toRejectionRecord } from '../../src/kafka/rejection-record.ts'
import type { DeadLetterRow } from '../../db/rows.ts'
import { holds } from '../helpers/property.ts'

const RECEIVED_MS = 1_735_689_600_750.25
const ROW = toReadingRow({ timestamp: 1735689600.250001, heartRateValue: 71, spo2: 97.5 }, 'ward-3', RECEIVED_MS)
const READING = { row: ROW, transport: 'mqtt', clientId: 'bed "7"' } as const
const LETTER: DeadLetterRow = {
  id: '00000000-0000-4000-8000-00000000000a',
  receivedAtMs: 1_735_689_600_750,
  transport: 'http',
  topic: 'vital/ward-3',
  clientId: 'bed-7',
  device: null,
  reason: 'invalid_json',
  errors: [{ path: '/0', message: 'must be JSON' }],
  payload: Buffer.from([0, 1, 255])
}

const textOf = ({ value }: OutgoingRecord) => value.toString()
const headersOf = ({ headers }: OutgoingRecord) => [...headers].map((pair) => pair.map(String))

t.test('a reading is JSON that any consumer can read, and comes back as the row it was', (t) => {
  const record = toReadingRecord(READING)
  const { id } = JSON.parse(textOf(record)) as { id: string }
  t.equal(record.topic, 'vital.readings')
  t.equal(record.key.toString(), 'ward-3')
  t.equal(textOf(record), '{"device":"ward-3","timestamp":1735689600.250001,"id":"' + id +
    '","receivedAt":1735689600.75025,"vitals":{"heartRateValue":71,"spo2":97.5}}')
  t.same(headersOf(record), [['schema', '1'], ['transport', 'mqtt'], ['client', 'bed "7"']])
  const row = { ...ROW, fields: { heartRateValue: 71, spo2: 97.5 } }
  t.same(readReadingRecord(record), { kind: 'read', value: { ...READING, id, row } })
  t.same(headersOf(toReadingRecord({ ...READING, clientId: null })), [['schema', '1'], ['transport', 'mqtt']])
  t.end()
})

t.test('any reading of any device keeps its digits and its identity', (t) => {
  const name = fc.string({ minLength: 1, maxLength: 12, unit: 'grapheme' })
  const vital = fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.string(), fc.boolean(), fc.constant(null),
    fc.constant(',"vitals":{'), fc.array(fc.integer()), fc.dictionary(name, fc.integer()))
  const arbitrary = fc.record({
    device: fc.oneof(fc.constant('a","vitals":{'), fc.string({ minLength: 1, maxLength: 20 }).filter(isDeviceId)),
    timeUs: fc.integer({ min: 0, max: 4_102_444_800_000_000 }),
    fields: fc.dictionary(name.filter((key) => !['device', 'timestamp', '__proto__'].includes(key)), vital)
  })
  holds(t, fc.property(arbitrary, ({ device, timeUs, fields }) => {
    const row = toReadingRow({ ...fields, timestamp: timeUs / 1e6 }, device, RECEIVED_MS)
    const read = readReadingRecord(toReadingRecord({ row, transport: 'grpc', clientId: null }))
    if (read.kind !== 'read') throw new Error(read.kind === 'unreadable' ? read.why : read.kind)
    const { vitals, hash, timeUs: readUs, receivedAtMs } = read.value.row
    return vitals === row.vitals && hash === row.hash && readUs === row.timeUs && readUs === timeUs && receivedAtMs === RECEIVED_MS
  }))
  t.end()
})

t.test('equal readings have one id, others have another one', (t) => {
  const idOf = (row: typeof ROW) => (JSON.parse(textOf(toReadingRecord({ ...READING, row }))) as { id: string }).id
  t.match(idOf(ROW), /^[0-9a-f]{32}$/)
  t.equal(idOf({ ...ROW, receivedAtMs: RECEIVED_MS + 1 }), idOf(ROW), 'received again')
  t.not(idOf({ ...ROW, device: 'ward-4' }), idOf(ROW))
  t.not(idOf({ ...ROW, timeUs: ROW.timeUs + 1 }), idOf(ROW))
  t.not(idOf({ ...ROW, vitals: '{"heartRateValue":72,"spo2":97.5}' }), idOf(ROW))
  t.end()
})

t.test('further members and headers are ignored; another schema is reported; foreign records are never read', (t) => {
  const record = toReadingRecord(READING)
  const withHeader = (name: string, value: string) => new Map([...record.headers, [Buffer.from(name), Buffer.from(value)] as const])
  t.equal(readReadingRecord({ ...record, headers: withHeader('trace', 'x') }).kind, 'read')
  t.equal(readReadingRecord({ ...record, value: Buffer.from(textOf(record).replace('{', '{"site":{"ward":3},')) }).kind, 'read')
  t.same(readReadingRecord({ ...record, headers: withHeader('schema', '2') }), { kind: 'unknown-schema', schema: '2' })
  const without = (name: string) => [...record.headers].filter(([key]) => key.toString() !== name)
  t.match(readReadingRecord({ ...record, headers: without('schema') }), { kind: 'unreadable', why: 'it has no header `schema`' })
  t.match(readReadingRecord({ ...record, headers: without('transport') }), { kind: 'unreadable' })
  const changes: Array<(text: string) => string> = [
    () => '', () => '[]', () => 'null', (text) => text.slice(1),
    (text) => text.replace('71', '72'), (text) => text.replace('71', '71.0'), (text) => text.replace('ward-3', 'ward/3'),
    (text) => text.replace('"timestamp":1735689600.250001', '"timestamp":-1'),
    (text) => text.replace(/"receivedAt":[\d.]+/, '"receivedAt":"now"'),
    (text) => text.replace(/"vitals":.*/, '"vitals":[]}'), (text) => text.replace(/"id":"..../, '"id":"0000')
  ]
  for (const change of changes) {
    const value = Buffer.from(change(textOf(record)))
    t.equal(readReadingRecord({ ...record, value }).kind, 'unreadable', value.toString())
  }
  t.equal(readReadingRecord({ ...record, value: null }).kind, 'unreadable')
  t.equal(readReadingRecord({ ...record, value: Buffer.from(textOf(record).replace('ward-3', 'ward-\xff'), 'latin1') }).kind, 'unreadable')
  t.end()
})

t.test('a dead letter comes back as the row it was, its payload byte for byte', (t) => {
  const record = toLetterRecord(LETTER)
  t.equal(record.topic, 'vital.dead-letters')
  t.equal(record.key.toString(), 'bed-7', 'the sender, because no device is known')
  t.same(readLetterRecord(record), { kind: 'read', value: LETTER })
  t.equal(toLetterRecord({ ...LETTER, device: 'ward-3' }).key.toString(), 'ward-3')
  t.equal(toLetterRecord({ ...LETTER, clientId: null }).key.toString(), LETTER.id)
  const value = JSON.parse(textOf(record)) as object
  const changed = (member: object) => ({ ...record, value: Buffer.from(JSON.stringify({ ...value, ...member })) })
  for (const member of [
    { id: 'x' }, { receivedAt: '1' }, { receivedAt: -1 }, { transport: 'pigeon' }, { reason: 'none' }, { topic: 1 }, { clientId: {} },
    { deviceId: 0 }, { errors: {} }, { errors: [{ path: 1 }] }, { payload: 'a b' }, { payload: null }
  ]) t.equal(readLetterRecord(changed(member)).kind, 'unreadable', JSON.stringify(member))
  t.equal(readLetterRecord(changed({ more: 1 })).kind, 'read')
  t.end()
})

t.test('a rejection comes back as it was, and other records are told apart', (t) => {
  const announcement = {
    id: '00000000-0000-4000-8000-00000000000b',
    device: 'ward-3',
    rejection: { reason: 'database_rejected' as const, errors: [{ path: '', message: 'refused' }], receivedAt: 1_735_689_600.75 }
  }
  const record = toRejectionRecord(announcement)
  t.equal(record.topic, 'vital.rejections')
  t.equal(record.key.toString(), 'ward-3')
  t.same(readRejectionRecord(record), { kind: 'read', value: announcement })
  const other = (value: unknown) => readRejectionRecord({ ...record, value: Buffer.from(JSON.stringify(value)) })
  t.match(other({ ...announcement, id: 7 }), { kind: 'unreadable', why: '`id` is not a string' })
  t.match(other({ ...announcement, device: 'a/b' }), { kind: 'unreadable', why: '`device` is not a device id' })
  t.match(other({ ...announcement, rejection: { reason: 'because' } }), { kind: 'unreadable', why: '`rejection` is not a rejection' })
  t.end()
})

t.test('a marker of an erasure comes back as it was; one that claims partitions without end is refused', (t) => {
  const erasure = '00000000-0000-4000-8000-00000000000a'
  const partitions = [0, 1, 2].map((partition) => ({ topicId: erasure, partition }))
  const place = { topic: 'vital.readings', topicId: erasure, partition: 1 }
  const record = toErasureRecord(place, { marker: erasure, device: 'ward-3', partitions })
  t.equal(record.partition, 1)
  t.same(readErasureRecord(record), { kind: 'read', value: { marker: erasure, device: 'ward-3', partitions } })
  const claiming = (count: number, topics: number) => {
    const counts = Object.fromEntries(Array.from({ length: topics }, (_, topic) => [erasure.slice(0, -4) + String(1000 + topic), count]))
    return readErasureRecord({ ...record, value: Buffer.from(JSON.stringify({ erasure, device: 'ward-3', partitions: counts })) })
  }
  t.match(claiming(10, 1000), { kind: 'read' })
  for (const [count, topics] of [[10_001, 1], [5000, 3], [-1, 1], [0.5, 1]] as const) {
    t.match(claiming(count, topics), { kind: 'unreadable', why: '`partitions` is not a count by topic id' }, `${topics} of ${count}`)
  }
  t.end()
})
