import t from 'tap'
import { toReadingRow } from '../../src/ingest/reading-row.ts'
import { toDeviceTag, toFieldName, toLine } from '../../src/export/line-protocol.ts'

const toRow = (device: string, timestamp: number, fields: Record<string, unknown> = {}) =>
  toReadingRow({ timestamp, device, ...fields }, device, 1_750_240_900_000)

t.test('a reading is a line: fields of each type, nanoseconds of its hash', (t) => {
  const fields = { heartRateValue: 61.5, isOn: true, note: 'a "b"\\\nc', bed: { n: [1] }, none: null }
  const row = toRow('ward 3,a=b', 1_750_240_830.123457, fields)
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
    ['heartRateValue', 'a_x2d_b', 'time_', 'Timestamp_', 'logPartition_', '_', '_xe9_'])
  t.same(['heart_rate', 'avg_24_h', 'x_max', 'pos_x2d', 'pos_x2_max', 'time_', 'a_x2d_b', 'a_X2D_b'].map(toFieldName),
    ['heart_rate', 'avg_24_h', 'x_max', 'pos_x2d', 'pos_x2_max', 'time__', 'a_x5f_x2d_b', 'a_x5f_X2D_b'])
  t.end()
})

/** All texts of up to six of these characters, and each reserved name with such a text behind it. */
function * createNames (): Generator<string> {
  const texts = ['']
  for (let length = 0; length < 6; length++) {
    texts.push(...texts.filter((text) => text.length === length).flatMap((text) => ['_', 'x', '2', 'd', '-'].map((next) => text + next)))
  }
  yield * texts
  for (const reserved of ['time', 'TIME', 'timestamp', 'device', 'logPartition']) for (const text of texts) yield reserved + text
}

t.test('two fields never have one name', (t) => {
  const taken = new Map<string, string>()
  for (const name of createNames()) {
    const made = toFieldName(name)
    if (taken.has(made) || !/^\w+$/.test(made)) t.fail(`${made} of ${JSON.stringify([taken.get(made), name])}`)
    taken.set(made, name)
  }
  t.ok(taken.size > 100_000)
  t.end()
})

t.test('where names are one in any case, those of a reading stay apart', (t) => {
  const toNames = (fields: Record<string, unknown>, isCaseBlind: boolean) =>
    [...toLine(toRow('d', 5, fields), 0, '\\\n', isCaseBlind)!.matchAll(/([^ ,=]+)=\d+(?=[, ])/g)].map(([, name]) => name).slice(1)
  const fields = { hr: 1, HR: 2, Hr: 3, heartRateValue: 4, _x48_r: 5, time: 6, Time: 7 }
  t.same(toNames(fields, true), ['hr', '_x48__x52_', '_x48_r', 'heartRateValue', '_x5f_x48_r', 'time_', '_x54_ime_'])
  t.same(toNames(fields, false), ['hr', 'HR', 'Hr', 'heartRateValue', '_x5f_x48_r', 'time_', 'Time_'])
  t.same(toNames({ HR: 2 }, true), ['HR'])
  t.end()
})
