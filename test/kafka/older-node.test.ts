import t from 'tap'
import { toKafkaNodeRefusal } from '../../src/kafka/load-client.ts'
import { spawnGateway } from '../helpers/gateway-process.ts'

t.test('on a Node.js that Kafka\'s client does not run on, a gateway ends with a message', {
  skip: toKafkaNodeRefusal(process.versions.node, 'this test') === null && 'this Node.js is new enough'
}, async (t) => {
  const gateway = await spawnGateway(t, {
    VITAL_JOURNAL: 'kafka', KAFKA_BROKERS: '127.0.0.1:1', DATABASE_URL: 'postgres://vital@127.0.0.1:1/vital'
  })
  const [status] = await gateway.exited
  t.equal(status, 1)
  const told = gateway.stderr() + gateway.lines.map(({ msg }) => msg).join('\n')
  t.match(told, `VITAL_JOURNAL=kafka needs Node.js 22.22, or 24.6 or newer, for Kafka's client, and this is ${process.versions.node}.`)
  t.notMatch(told, /\n\s+at /, 'no stack')
})
