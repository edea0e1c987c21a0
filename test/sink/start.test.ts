import t, { type Test } from 'tap'
import { toKafkaNodeRefusal } from '../../src/kafka/load-client.ts'
import { spawnGateway } from '../helpers/gateway-process.ts'

async function start (t: Test, variables: Record<string, string>) {
  const sink = await spawnGateway(t, variables, { program: 'scripts/vital-gateway.ts', args: ['sink'] })
  t.same(await sink.exited, [1, null])
  return sink.stderr()
}

const DATABASE_URL = 'postgres://127.0.0.1:1/none'
const KAFKA_BROKERS = '127.0.0.1:1'
const refusal = toKafkaNodeRefusal(process.versions.node, 'vital-gateway sink')

t.test('a missing variable is reported in one line', async (t) => {
  t.match(await start(t, { KAFKA_BROKERS }), /^vital-gateway sink needs DATABASE_URL: .*\n$/)
  t.match(await start(t, { DATABASE_URL }), /^vital-gateway sink needs KAFKA_BROKERS: .*\n$/)
})

t.test('a Node.js that Kafka\'s client does not run on is refused ' +
  'in one line', { skip: refusal === null && 'this one does' }, async (t) => {
  t.equal(await start(t, { DATABASE_URL, KAFKA_BROKERS }), `${refusal}\n`)
})
