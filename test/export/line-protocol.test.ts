import t from 'tap'
import { toReadingRow } from '../../src/ingest/reading-row.ts'
import { toDeviceTag, toFieldName, toLine } from '../../src/export/line-protocol.ts'

const toRow = (device: string, timestamp: number, fields: Record<string, unknown> = {}) =>
  toReadingRow({ timestamp, device, ...fields }, device, 1_750_240_900_000)

t.test('a reading is a line: fields of each type, nanoseconds of its hash', (t) => {
  const row = toRow('ward 3,a=b', 1_750_240_830.123457, { heartRateValue: 61.5, isOn: true, note: 'a "b"\\\nc', bed: { n: [1] }, none: null })
  const [, time] = / 1750240830123457(\d{3})$/.exec(toLine(row, 7, '\n')!)!
  t.equal(toLine(row, 7, '\n'), 'vital,device=ward\\ 3\\,a\\=b,logPartition=7 heartRateValue=61.5,isOn=true,note="a \\"b\\"\\\\\nc",' +
    `bed="{\\"n\\":[1]}" 1750240830123457${time}`)
  t.equal(toLine(row, 7, null), `vital,device=ward\\ 3\\,a\\=b,logPartition=7 heartRateValue=61.5,isOn=true 1750240830123457${time}`)
  t.match(toLine(row, 7, '\\\n'), /note="a \\"b\\"\\\\\\\nc",/)
  t.equal(toLine(toRow('d', 5), 0, '\n'), null, 'a reading without vital signs')
  t.equal(toLine(toRow('d', 5, { note: 'x' }), 0, null), null)
  t.end()
})

t.test('readings of one microsecond differ in the digits below it, and equal readings do not', (t) => {
  const times = new Set(Array.from({ length: 200 }, (_, n) => toLine(toRow('d', 7, { n }), 0, '\n')!.split(' ').at(-1)))
  t.ok(times.size > 150, `${times.size} of 200`)
  t.equal(toLine(toRow('d', 7, { b: 1, a: 2 }), 0, '\n')!.split(' ').at(-1),
    toLine(toRow('d', 7, { a: 2, b: 1 }), 0, '\n')!.split(' ').at(-1))
  for (const time of times) t.match(time, /^7000000\d{3}$/)
  t.match(toLine(toRow('d', 0, { n: 1 }), 0, '\n'), / [1-9]?\d{1,2}$/)
  t.end()
})

t.test('ids come back by decodeURIComponent, and most are written unchanged', (t) => {
  for (const id of ['a b', 'a,b', 'a=b', 'a\\', '\\,', '"', '%', '%5C', 'ü😀', '\'']) t.equal(decodeURIComponent(toDeviceTag(id)), id)
  t.equal(toDeviceTag('a b,c=d"ü'), 'a b,c=d"ü')
  t.equal(toDeviceTag('a\\'), 'a%5C')
  t.end()
})

t.test('names of fields that a database reserves or refuses are changed', (t) => {
  t.same(['heartRateValue', 'a-b', 'time', 'Timestamp', 'logPartition', '', 'é'].map(toFieldName),
    ['heartRateValue', 'a_2d_b', 'time_', 'Timestamp_', 'logPartition_', '_', '_e9_'])
  t.end()
})
