import { resolve } from 'node:path'
import t from 'tap'
import { createConfig } from '../../src/config/config.ts'

t.test('without KAFKA_BROKERS there is no Kafka', (t) => {
  t.equal(createConfig({}).kafka, null)
  t.end()
})

t.test('brokers by name, IPv4 and IPv6; TLS and a login only where they are asked for', (t) => {
  t.same(createConfig({ KAFKA_BROKERS: 'kafka-1:9092, 10.0.0.7:9093,[fd00::1]:9094' }).kafka, {
    brokers: [{ host: 'kafka-1', port: 9092 }, { host: '10.0.0.7', port: 9093 }, { host: 'fd00::1', port: 9094 }],
    isWeakAllowed: false,
    tls: null,
    sasl: null
  })
  t.match(createConfig({
    KAFKA_BROKERS: 'kafka-1:9092',
    KAFKA_TLS: 'true',
    KAFKA_TLS_CA_FILE: 'ca.pem',
    KAFKA_SASL_MECHANISM: 'SCRAM-SHA-512',
    KAFKA_SASL_USERNAME: 'gateway',
    KAFKA_SASL_PASSWORD_FILE: 'password'
  }).kafka, {
    tls: { caFile: resolve('ca.pem') }, sasl: { mechanism: 'SCRAM-SHA-512', username: 'gateway', passwordFile: resolve('password') }
  })
  t.same(createConfig({ KAFKA_BROKERS: 'kafka-1:9092', KAFKA_TLS: 'true' }).kafka?.tls, { caFile: null })
  t.end()
})

t.test('a contradictory or unusable value stops the start with a message', (t) => {
  const brokers = { KAFKA_BROKERS: 'kafka-1:9092' }
  for (const bad of [
    'kafka-1', 'kafka-1:0', 'kafka-1:65536', 'kafka://kafka-1:9092', 'user:pw@kafka-1:9092', 'fd00::1:9092', ',', 'a:1,b'
  ]) {
    t.throws(() => createConfig({ KAFKA_BROKERS: bad }), /^KAFKA_BROKERS must list brokers as host:port/, bad)
  }
  t.throws(() => createConfig({ ...brokers, KAFKA_TLS_CA_FILE: 'ca.pem' }), /KAFKA_TLS_CA_FILE needs KAFKA_TLS=true/)
  t.throws(() => createConfig({ KAFKA_TLS: 'true' }), /need KAFKA_BROKERS/)
  t.throws(() => createConfig({ ...brokers, KAFKA_SASL_USERNAME: 'gateway' }), /must be set together/)
  t.throws(() => createConfig({ ...brokers, KAFKA_SASL_MECHANISM: 'PLAIN' }), /KAFKA_SASL_MECHANISM/)
  t.throws(() => createConfig({ VITAL_JOURNAL: 'kafka' }), /VITAL_JOURNAL=kafka needs KAFKA_BROKERS/)
  t.throws(() => createConfig({ ...brokers, VITAL_ACK_AFTER: 'spool' }), /VITAL_ACK_AFTER=spool needs VITAL_JOURNAL=kafka/)
  t.throws(() => createConfig({ KAFKA_BROKER: 'kafka-1:9092' }), /did you mean KAFKA_BROKERS/)
  t.end()
})
