import t, { type Test } from 'tap'
import { toKafkaNodeRefusal } from '../../src/kafka/load-client.ts'
import { spawnGateway } from '../helpers/gateway-process.ts'

async function start (t: Test, variables: Record<string, string>) {
  const lake = await spawnGateway(t, variables, { program: 'scripts/vital-gateway.ts', args: ['lake'] })
  t.same(await lake.exited, [1, null])
  return lake.stderr()
}

const DATABASE_URL = 'postgres://127.0.0.1:1/none'
const KAFKA_BROKERS = '127.0.0.1:1'
const refusal = toKafkaNodeRefusal(process.versions.node, 'vital-gateway lake')

t.test('a missing variable is reported in one line', async (t) => {
  t.match(await start(t, { KAFKA_BROKERS }), /^vital-gateway lake needs DATABASE_URL: .*\n$/)
  t.match(await start(t, { DATABASE_URL }), /^vital-gateway lake needs KAFKA_BROKERS: .*\n$/)
  t.match(await start(t, { DATABASE_URL, KAFKA_BROKERS }), /^vital-gateway lake needs VITAL_LAKE_URL: .*\n$/)
})

t.test('a Node.js that Kafka\'s client does not run on is refused ' +
  'in one line', { skip: refusal === null && 'this one does' }, async (t) => {
  t.equal(await start(t, { DATABASE_URL, KAFKA_BROKERS, VITAL_LAKE_URL: 's3://vital-lake' }), `${refusal}\n`)
})
