import mqttPacket from 'mqtt-packet'
import t from 'tap'
import { TopicTree } from '../../../broker/session/topic-tree.ts'
import { checkPacket } from '../../../broker/wire/rules.ts'
import { createRandom } from '../../helpers/broker.ts'

const isTopicFilter = (filter: string) =>
  checkPacket(mqttPacket.generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: filter, qos: 0 }] }), 2) === null

/** Matching by the letter of MQTT 3.1.1 §4.7, level by level. */
function matches (filter: string, topic: string): boolean {
  const [filters, topics] = [filter.split('/'), topic.split('/')]
  if (topic.startsWith('$') && /^[+#]/.test(filter)) return false
  for (const [at, level] of filters.entries()) {
    if (level === '#') return topics.length >= at
    if (topics[at] === undefined || (level !== '+' && level !== topics[at])) return false
  }
  return filters.length === topics.length
}

t.test('both look-ups agree with the specification', (t) => {
  const seed = Date.now() % 1_000_000
  t.comment(`seed ${seed}`)
  const random = createRandom(seed)
  const pick = (words: readonly string[]) => words[Math.floor(random() * words.length)]!
  const path = (words: readonly string[]) => Array.from({ length: 1 + Math.floor(random() * 4) }, () => pick(words)).join('/')
  for (let run = 0; run < 100; run++) {
    const topics = new Set(Array.from({ length: 20 }, () => path(['a', 'b', '', '$x'])))
    const filters = new Set(Array.from({ length: 40 }, () => path(['a', 'b', '', '$x', '+', '#'])).filter(isTopicFilter))
    const byTopic = new TopicTree<string>()
    const byFilter = new TopicTree<string>()
    for (const topic of topics) byTopic.set(topic, topic)
    for (const filter of filters) byFilter.set(filter, filter)
    for (const topic of [...topics].slice(0, 5)) {
      byTopic.delete(topic)
      topics.delete(topic)
    }
    for (const filter of filters) {
      const expected = [...topics].filter((topic) => matches(filter, topic)).sort()
      if ([...byTopic.matchFilter(filter)].sort().join() !== expected.join()) throw new Error(`seed ${seed}: filter ${filter}`)
    }
    for (const topic of topics) {
      const expected = [...filters].filter((filter) => matches(filter, topic)).sort()
      if (byFilter.matchTopic(topic).sort().join() !== expected.join()) throw new Error(`seed ${seed}: topic ${topic}`)
    }
  }
  t.pass('100 trees')
  t.end()
})

t.test('a tree that was emptied holds nothing', (t) => {
  const tree = new TopicTree<number>()
  for (const path of ['a/b', 'a', 'a/b/c', '']) tree.set(path, 1)
  for (const path of ['a/b', 'never', 'a/b/c', 'a', 'a/x', '']) tree.delete(path)
  t.strictSame([...tree.matchFilter('#')], [])
  t.equal(tree.get('a'), undefined)
  t.end()
})

t.test('well-formed filters', (t) => {
  for (const filter of ['#', '+', '/', '/#', '+/+', 'a/+/b', 'a/#', ' ', '$SYS/#']) t.ok(isTopicFilter(filter), filter)
  for (const filter of ['a#', '#/a', 'a/#/b', 'a+', '+a/b', 'a/b+', '##']) t.notOk(isTopicFilter(filter), filter)
  t.end()
})
