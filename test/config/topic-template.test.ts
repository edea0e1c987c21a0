import t from 'tap'
import { parseTopicTemplate } from '../../src/config/topic-template.ts'

const parse = (text: string, areWildcardsAllowed = false) => parseTopicTemplate(text, { areWildcardsAllowed })

t.test('a template is a filter, and finds the device in a topic that it matches', (t) => {
  const { filter, deviceOf } = parse('ward/+/monitor/{device}', true)
  t.equal(filter, 'ward/+/monitor/+')
  t.equal(deviceOf('ward/3/monitor/m-7'), 'm-7')
  t.equal(deviceOf('ward//monitor/m-7'), 'm-7', '+ matches an empty level [MQTT-4.7.1-3]')
  for (const other of [
    'ward/3/monitor', 'ward/3/monitor/m-7/x', 'ward/3/Monitor/m-7', 'ward/3/monitor/', 'ward/3/monitor/$x', 'ward/3/monitor/__proto__',
    `ward/3/monitor/${'x'.repeat(129)}`, ''
  ]) t.equal(deviceOf(other), null, other)
  t.equal(parse('{device}/vitals').deviceOf('m-7/vitals'), 'm-7')
  t.equal(parse('{device}').filter, '+')
  t.end()
})

t.test('a wildcard beside the device is refused, unless the operator says that ids are unique', (t) => {
  t.throws(() => parse('ward/+/monitor/{device}'),
    /has a \+ beside \{device\}: device 7 of two topics would be one device\..*ALLOW_WILDCARDS=true/)
  t.equal(parse('ward/+/monitor/{device}', true).deviceOf('ward/1/monitor/7'), '7')
  t.end()
})

t.test('an invalid template is refused with a message', (t) => {
  for (const [text, why] of [
    ['ward/+', /must have one level that is \{device\}/], ['', /one level/], ['a/{device}/{device}', /one level/],
    ['a/x{device}', /one level/], ['$share/g/{device}', /must not begin with \$/], ['{device}/#', /must not hold #/],
    ['a+/{device}', /has the level "a\+"/], ['{ward}/{device}', /has the level "\{ward\}"/], ['a\n/{device}', /has the level/]
  ] as const) t.throws(() => parse(text, true), why, text)
  t.end()
})
