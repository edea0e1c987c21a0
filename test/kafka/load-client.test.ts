import t from 'tap'
import { toKafkaNodeRefusal } from '../../src/kafka/load-client.ts'

t.test('Kafka\'s client runs on Node.js 22.22, and on 24.6 or newer', (t) => {
  for (const version of ['22.22.0', '22.30.1', '24.6.0', '24.22.3', '25.0.0', '26.1.0']) {
    t.equal(toKafkaNodeRefusal(version, 'x'), null, version)
  }
  for (const version of ['20.19.0', '20.20.2', '22.21.9', '23.11.0', '24.5.0']) {
    t.match(toKafkaNodeRefusal(version, 'VITAL_JOURNAL=kafka'), 'VITAL_JOURNAL=kafka needs Node.js 22.22, or 24.6 or newer, for ' +
      `Kafka's client, and this is ${version}.`)
  }
  t.end()
})
