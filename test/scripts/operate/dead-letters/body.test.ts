import t from 'tap'
import { toResendBody } from '../../../../scripts/operate/dead-letters/body.ts'

const toText = (payload: string | Buffer, letter: {
  topic?: string | null
  deviceId?: string | null
} = {}, options: { device?: string, payload?: string } = {}) => {
  const prepared = toResendBody({ topic: 'vital/a', deviceId: 'a', payload: Buffer.from(payload), ...letter }, {
    device: options.device ?? null, payload: options.payload === undefined ? null : Buffer.from(options.payload)
  })
  return 'why' in prepared ? prepared : prepared.body.toString('latin1')
}

t.test('a reading without a device gets the topic\'s, and nothing else changes', async (t) => {
  for (const [payload, body] of [
    ['{"timestamp":1}', '{"device":"a","timestamp":1}'],
    [' { } ', ' {"device":"a" } '],
    ['{"x":{"y":[{}]},"s":"{\\"{","n":1e999}', '{"device":"a","x":{"y":[{}]},"s":"{\\"{","n":1e999}'],
    [
      '[{"n":1.0},\n{"device":"a","n":2},{},[{"n":3}],4,{"n":5,"d":[{"e":{}}]}]',
      '[{"device":"a","n":1.0},\n{"device":"a","n":2},{"device":"a"},[{"n":3}],4,{"device":"a","n":5,"d":[{"e":{}}]}]'
    ],
    ['[{"s":"}]\\"}"},{"[":"{"},{"n":1}]', '[{"device":"a","s":"}]\\"}"},{"device":"a","[":"{"},{"device":"a","n":1}]'],
    ['{"device":"a","timestamp":1}', '{"device":"a","timestamp":1}'],
    ['{"device":null}', '{"device":null}'],
    ['{"__proto__":{"device":"b"}}', '{"device":"a","__proto__":{"device":"b"}}'],
    ['[]', '[]'], ['7', '7'], ['"{"', '"{"'], ['', ''], ['{"timestamp":1', '{"timestamp":1'], ['[[{}]]', '[[{}]]']
  ] as const) t.equal(toText(payload), body, payload)
  t.equal(toText(Buffer.from([0xff, 0x7b, 0x7d])), '\u00ff{}', 'bytes that are not UTF-8 stay as they are')
  const quoted = toText('{}', { topic: 'vital/"\\', deviceId: '"\\' })
  t.same(JSON.parse(quoted as string), { device: '"\\' })
})

t.test('no reading is assigned to a device that did not send it', async (t) => {
  t.match(toText('{"device":"b","timestamp":1}'), { why: /another device than its topic/ })
  t.match(toText('[{},{"device":"b"}]'), { why: /another device than its topic/ })
  t.match(toText('{"device":"a"}', {}, { device: 'b' }), { why: /another device than --as/ })
  t.match(toText('{"device":"a"}', { topic: 'vital/a/b', deviceId: 'a' }), { why: /its topic names no valid device; .*--as/ },
    'not even to the one that its topic names')
  t.equal(toText('{}', { topic: 'vital/a/b', deviceId: null }, { device: 'b' }), '{"device":"b"}')
  t.equal(toText('{"device":"c"}', { topic: null, deviceId: null }), '{"device":"c"}', 'over HTTP the reading names its device')
  t.equal(toText('x', {}, { payload: '{"n":1}' }), '{"device":"a","n":1}')
})
