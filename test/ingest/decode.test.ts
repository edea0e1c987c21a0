import t from 'tap'
import { isStorableJson, toCanonicalJson } from '../../src/ingest/canonical-json.ts'
import { decode } from '../../src/ingest/decode.ts'
import { toPayload } from '../../src/ingest/reading-row.ts'
import { exactly } from '../helpers/exactly.ts'

const NOW_MS = 1_750_300_000_000

const decodeText = (text: string | Buffer, device: string | null = 'ward-3') => decode(Buffer.from(text), device, NOW_MS)

t.test('a reading keeps its fields and gets its identity', (t) => {
  const { rows, refused } = decodeText('{"timestamp":1750240830.1234561,"heartRateValue":61.5,"note":{"b":1,"a":[true,null]}}')
  t.equal(refused.length, 0)
  t.equal(rows.length, 1)
  const [row] = rows
  t.equal(row?.device, 'ward-3')
  t.equal(row?.timeUs, 1750240830123456)
  t.equal(row?.vitals, '{"heartRateValue":61.5,"note":{"a":[true,null],"b":1}}')
  t.match(row?.fields, { heartRateValue: 61.5, note: { a: exactly(true, null), b: 1 } })
  t.equal(row?.hash.length, 16)
  t.end()
})

t.test('fields are sorted by name, for any number and order', (t) => {
  for (const count of [1, 2, 15, 16, 17, 18, 100]) {
    const names = Array.from({ length: count }, (_, index) => `f${String(index).padStart(3, '0')}`)
    const vitals = `{${names.map((name) => `"${name}":1`).join(',')}}`
    for (const order of [names, names.toReversed(), [...names.slice(count >> 1), ...names.slice(0, count >> 1)]]) {
      const { rows } = decodeText(`{"timestamp":1750240830,${order.map((name) => `"${name}":1`).join(',')}}`)
      t.equal(rows[0]?.vitals, vitals, `${count} fields, ${order[0]} first`)
    }
  }
  t.end()
})

t.test('identity does not depend on key order, white space, transport or where the device is named', (t) => {
  const identity = (text: string, device: string | null) => {
    const row = decodeText(text, device).rows[0]
    return [row?.device, row?.timeUs, row?.hash]
  }
  const first = identity('{"timestamp":1750240830,"heartRateValue":61,"spo2Value":97}', 'a')
  t.same(identity('{ "spo2Value":97.0, "heartRateValue":6.1e1, "timestamp":1750240830.0000001, "device":"a" }', 'a'), first)
  t.same(identity('{"device":"a","timestamp":1750240830,"spo2Value":97,"heartRateValue":61}', null), first)
  t.notSame(identity('{"timestamp":1750240830,"heartRateValue":61,"spo2Value":98}', 'a'), first)
  t.notSame(identity('{"timestamp":1750240830.000001,"heartRateValue":61,"spo2Value":97}', 'a'), first)
  t.end()
})

t.test('a reading may have no vital signs', (t) => {
  t.equal(decodeText('{"timestamp":1750240830}').rows[0]?.vitals, '{}')
  t.end()
})

t.test('refused payloads, with the reason and the path of each fault', (t) => {
  const cases: Array<[string, string | Buffer, string, string[]]> = [
    ['truncated', '{"timestamp":17502', 'invalid_json', ['']],
    ['empty', '', 'invalid_json', ['']],
    ['invalid UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), 'invalid_json', ['']],
    ['not an object', '5', 'invalid_reading', ['']],
    ['null', 'null', 'invalid_reading', ['']],
    ['no timestamp', '{"heartRateValue":88}', 'invalid_reading', ['/timestamp']],
    ['two faults at once', '{"timestamp":"1","heartRateValue":null}', 'invalid_reading', ['/timestamp', '/heartRateValue']],
    ['before 1970', '{"timestamp":-1}', 'invalid_reading', ['/timestamp']],
    ['milliseconds', '{"timestamp":1750240830000}', 'invalid_reading', ['/timestamp']],
    ['overflow of a vital sign', '{"timestamp":1750240830,"heartRateValue":1e999}', 'invalid_reading', ['/heartRateValue']],
    ['overflow of an unknown field', '{"timestamp":1750240830,"x":{"y":[1e999]}}', 'invalid_reading', ['/x/y/0']],
    ['__proto__', '{"timestamp":1750240830,"__proto__":1}', 'invalid_reading', ['/__proto__']],
    ['nested __proto__', '{"timestamp":1750240830,"x":{"__proto__":1}}', 'invalid_reading', ['/x/__proto__']],
    ['other device', '{"timestamp":1750240830,"device":"ward-4"}', 'device_mismatch', ['/device']],
    ['NUL in a string', '{"timestamp":1750240830,"note":"a\\u0000"}', 'database_rejected', ['/note']],
    ['half a surrogate pair', '{"timestamp":1750240830,"note":"\\ud83d"}', 'database_rejected', ['/note']],
    ['empty array', '[]', 'invalid_reading', ['']],
    ['too many', JSON.stringify(Array.from({ length: 1001 }, () => ({ timestamp: 1 }))), 'invalid_reading', ['']]
  ]
  for (const [name, payload, reason, paths] of cases) {
    const { rows, refused } = decodeText(payload)
    t.equal(rows.length, 0, name)
    t.equal(refused.length, 1, name)
    t.equal(refused[0]?.reason, reason, name)
    t.same(refused[0]?.errors.map((fault) => fault.path), paths, name)
    t.same(refused[0]?.payload, Buffer.from(payload), name)
  }
  const messageOf = (text: string) => decodeText(text).refused[0]?.errors[0]?.message
  t.match(messageOf('{"timestamp":1750240830000}'), /milliseconds: divide it by 1000$/)
  t.match(messageOf('{"timestamp":1750240830000000}'), /microseconds: divide it by 1000000$/)
  t.match(messageOf('{"timestamp":1750240830000000000}'), /nanoseconds/)
  t.match(decode(Buffer.from('{"timestamp":1750240830}'), 'a', 60_000).refused[0]?.errors[0]?.message,
    /at most a day ahead of the gateway's clock/, 'not in 1970 either')
  t.same(decode(Buffer.from('{"timestamp":1750240830}'), 'a', 60_000, false).refused, [])
  t.match(messageOf('{"timestamp":"2026-11-29T09:00:00Z"}'), /Unix seconds such as 1735689600.25, not ISO 8601/)
  t.match(messageOf('{"timestamp":"1750240830"}'), /without quotes/)
  t.match(messageOf('{"timestamp":1,"heartRateValue":nan}'), /position 32; JSON has no NaN/)
  t.match(messageOf('{"timestamp":1,"x":NaN}'), /position 19; JSON has no NaN/)
  t.match(messageOf('{"timestamp":1,}'), /unexpected character at position 15$/)
  for (const cut of ['{"timestamp":1', '{"timest', '{"timestamp":1,"note":"\\u00', '{"timestamp":1,"worn":tru', '{"timestamp":-']) {
    t.match(messageOf(cut), /it ends too early/, cut)
  }
  t.match(messageOf('{"note":"a\nb'), /unexpected character at position 8$/, 'a line feed in a string')
  t.end()
})

t.test('a deep element is refused alone', (t) => {
  for (const [open, close] of [['[', ']'], ['{"a":', '1}']] as const) {
    const element = `${open.repeat(500)}${close.slice(0, -1)}${close.slice(-1).repeat(500)}`
    // A long note, so that the payload is measured before it is parsed.
    const { rows, refused } = decodeText(`[{"timestamp":1,"note":"${'x'.repeat(20_000)}"},${element}]`)
    t.equal(rows.length, 1)
    t.strictSame(refused.map(({ reason, payload }) => [reason, payload.toString() === element]), [['invalid_reading', true]])
  }
  t.end()
})

t.test('a payload deeper than any reading is not parsed', (t) => {
  const deep = `${'['.repeat(40_000)}${']'.repeat(40_000)}`
  for (const text of [deep, `{"timestamp":1,"x":${deep}}`, `[{"timestamp":1},${deep}]`, '['.repeat(200_000), '{"a":'.repeat(40_000)]) {
    t.match(decodeText(text), {
      rows: exactly(),
      refused: exactly({
        reason: 'invalid_json', errors: exactly({ path: '', message: 'must not nest deeper than 512 levels' }), payload: Buffer.from(text)
      })
    })
  }
  t.end()
})

t.test('limits that are checked before parsing give the same faults', (t) => {
  const padding = 'x, {:[ and \\"so on"'
  const name = (index: number) => `"n${index}":${JSON.stringify(padding)}`
  const limits: Array<[(count: number) => string, string]> = [
    [
      (count) => `{"timestamp":1,${Array.from({ length: count - 1 }, (_, index) => name(index)).join(',')}}`,
      'must not hold more than 1000 names, those of nested objects included'
    ],
    [
      (count) => `[${Array.from({ length: count }, (_, index) => `{"timestamp":1,${name(index)}}`).join(',')}]`,
      'must be an array of 1 to 1000 readings, not 1001'
    ]
  ]
  for (const [toText, message] of limits) {
    t.strictSame(decodeText(toText(1000)).refused, [])
    t.strictSame(decodeText(toText(1001)).refused[0]?.errors, [{ path: '', message }])
  }
  for (const text of [
    `[${' '.repeat(20_000)}]`, `{"timestamp":1,"note":"${'['.repeat(20_000)}"}`, `{"timestamp":1,"a":"${'\\"['.repeat(20_000)}"}`,
    ' '.repeat(20_000), '"'.repeat(20_001), ']'.repeat(20_000)
  ]) {
    let isJson = true
    try {
      JSON.parse(text)
    } catch {
      isJson = false
    }
    t.equal(decodeText(text).refused[0]?.reason === 'invalid_json', !isJson, text.slice(0, 30))
  }
  t.end()
})

t.test('a waveform is kept, and a fault in the middle of one is found', (t) => {
  const wave = Array.from({ length: 30_000 }, (_, index) => index % 977)
  t.equal(decodeText(JSON.stringify({ timestamp: 1, wave })).rows[0]?.vitals, JSON.stringify({ wave }))
  const text = JSON.stringify({ timestamp: 1, 'a/b': [{ wave: [...wave, null] }] }).replace('null', '1e999')
  t.strictSame(decodeText(text).refused[0]?.errors, [{ path: '/a~1b/0/wave/30000', message: 'must be a finite number' }])
  t.end()
})

t.test('at most a hundred faults of one payload are listed', (t) => {
  const pairs = Array.from({ length: 500 }, () => '{"timestamp":"x","spo2Value":"y"},{"timestamp":2}')
  const { rows, refused } = decodeText(`[${pairs.join(',')}]`)
  t.equal(rows.length, 500)
  t.equal(refused.length, 500)
  t.strictSame(refused.slice(0, 50).map(({ errors }) => errors.length), Array.from({ length: 50 }, () => 2))
  t.strictSame(refused[50]?.errors,
    [{ path: '/100', message: 'is not a reading; of one payload only the first 100 faults are told in full' }])
  t.strictSame(refused[499]?.errors[0]?.path, '/998')
  t.equal(refused[499]?.payload.toString(), '{"timestamp":"x","spo2Value":"y"}')
  t.end()
})

t.test('an array stands for its elements: good ones are rows, each bad one is refused alone', (t) => {
  const { rows, refused } = decodeText('[{"timestamp":1},{"timestamp":"x"},{"timestamp":2},7]')
  t.same(rows.map((row) => row.timeUs), [1e6, 2e6])
  t.same(refused.map((one) => [one.payload.toString(), one.errors[0]?.path]), [['{"timestamp":"x"}', '/1/timestamp'], ['7', '/3']])
  const elements = ['{ "a,]" : [1,{"b":"\\\\"}] }', '1e999', '"\\"],["', '{"a":1,"a":2}', '[[],{}]', 'null']
  const spaced = decodeText(` [\n${elements.join(' ,\t')}\r] `)
  t.strictSame(spaced.refused.map(({ payload }) => payload.toString()), elements, 'the bytes of each element, unchanged')
  t.end()
})

t.test('over HTTP each reading names its device', (t) => {
  t.equal(decodeText('{"timestamp":1,"device":"a"}', null).rows[0]?.device, 'a')
  t.same(decodeText('{"timestamp":1}', null).refused[0]?.errors,
    [{ path: '/device', message: 'is required: without a topic the reading names its device' }])
  for (const id of ['', 'a/b', 'a+', '#', '$x', 'x'.repeat(129), '__proto__', 'constructor', 'a\u0007']) {
    t.equal(decodeText(JSON.stringify({ timestamp: 1, device: id }), null).refused[0]?.errors[0]?.path, '/device', JSON.stringify(id))
  }
  t.equal(decodeText(JSON.stringify({ timestamp: 1, device: '😀'.repeat(128) }), null).rows.length, 1, 'characters, not UTF-16 units')
  t.end()
})

t.test('no fault message quotes the payload', (t) => {
  for (const text of ['{"secret"', '{"a":secret}', 'secret', '{"a":"secret']) {
    t.notMatch(JSON.stringify(decodeText(text).refused[0]?.errors), /secret/)
  }
  t.end()
})

t.test('canonical JSON: RFC 8785 as far as JSON.parse can produce it', (t) => {
  t.equal(toCanonicalJson(JSON.parse('{"b":-0,"a":[1e21,"\\u20ac",{"z":null,"y":true}],"10":0.1,"c":[-0,1e21,"\\u20ac",null]}')),
    '{"10":0.1,"a":[1e+21,"€",{"y":true,"z":null}],"b":0,"c":[0,1e+21,"€",null]}')
  t.equal(isStorableJson(JSON.stringify('\\u0000')), true, 'an escaped backslash begins no escape')
  t.equal(isStorableJson(JSON.stringify('\\\u0000')), false)
  t.equal(isStorableJson(JSON.stringify('\u0001')), true)
  t.end()
})

t.test('a row can be shown as the reading that was sent', (t) => {
  const row = decodeText('{"timestamp":1750240830.5,"heartRateValue":61}').rows[0]
  t.same(JSON.parse(toPayload(row!)), { device: 'ward-3', timestamp: 1750240830.5, heartRateValue: 61 })
  t.same(JSON.parse(toPayload(decodeText('{"timestamp":3}').rows[0]!)), { device: 'ward-3', timestamp: 3 })
  t.end()
})
