import t, { type Test } from 'tap'
import { toKafkaNodeRefusal } from '../../src/kafka/load-client.ts'
import { createConfig } from '../../src/config/config.ts'
import { spawnGateway } from '../helpers/gateway-process.ts'

async function start (t: Test, variables: Record<string, string>) {
  const exported = await spawnGateway(t, variables, { program: 'scripts/vital-gateway.ts', args: ['export'] })
  t.same(await exported.exited, [1, null])
  return exported.stderr()
}

const DATABASE_URL = 'postgres://127.0.0.1:1/none'
const KAFKA_BROKERS = '127.0.0.1:1'
const refusal = toKafkaNodeRefusal(process.versions.node, 'vital-gateway export')

t.test('a missing variable is reported in one line', async (t) => {
  t.match(await start(t, { KAFKA_BROKERS }), /^vital-gateway export needs DATABASE_URL: .*\n$/)
  t.match(await start(t, { DATABASE_URL }), /^vital-gateway export needs KAFKA_BROKERS: .*\n$/)
  t.match(await start(t, { DATABASE_URL, KAFKA_BROKERS }), /^vital-gateway export needs VITAL_EXPORT_URL: .*\n$/)
})

t.test('a Node.js that Kafka\'s client does not run on is refused ' +
  'in one line', { skip: refusal === null && 'this one does' }, async (t) => {
  t.equal(await start(t, { DATABASE_URL, KAFKA_BROKERS, VITAL_EXPORT_URL: 'http://127.0.0.1:1' }), `${refusal}\n`)
})

t.test('a bad configuration, without secrets in the message', (t) => {
  const fails = (variables: Record<string, string>, message: RegExp) => {
    t.throws(() => createConfig(variables), { message })
  }
  const VITAL_EXPORT_URL = 'http://127.0.0.1:8086'
  fails({ VITAL_EXPORT_URL: 'ftp://ann:secret@h' }, /^VITAL_EXPORT_URL must be http(?!.*secret)/)
  fails({ VITAL_EXPORT_URL: 'http://ann:secret@h' }, /^VITAL_EXPORT_URL must hold no user(?!.*secret)/)
  fails({ VITAL_EXPORT_URL, VITAL_EXPORT_USERNAME: 'ann' }, /must be set together/)
  fails({
    VITAL_EXPORT_URL, VITAL_EXPORT_USERNAME: 'ann', VITAL_EXPORT_PASSWORD_FILE: 'p', VITAL_EXPORT_TOKEN_FILE: 't'
  }, /exclude each other/)
  fails({ VITAL_EXPORT_URL, VITAL_EXPORT_TLS_CA_FILE: 'ca.pem' }, /needs VITAL_EXPORT_URL=https/)
  fails({ VITAL_EXPORT_URL, VITAL_EXPORT_KIND: 'influxdb2' }, /needs VITAL_EXPORT_ORG/)
  t.match(createConfig({ VITAL_EXPORT_URL: 'https://[::1]:8086/base/' }).timeSeries, {
    url: 'https://[::1]:8086/base', isLoopback: true, isEncrypted: true, kind: 'influxdb1', login: null
  })
  t.equal(createConfig({}).timeSeries, null)
  t.end()
})
