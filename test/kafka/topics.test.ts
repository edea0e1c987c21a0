import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { loadKafkaClient } from '../../src/kafka/load-client.ts'
import { runCommandLine } from '../helpers/command-line.ts'
import { freePort } from '../helpers/free-port.ts'
import { isOnKafkaNode, startKafka } from '../helpers/kafka.ts'
import { createTestDir } from '../helpers/postgres.ts'

if (await isOnKafkaNode(t, import.meta.filename)) {
  const kafka = await startKafka(t)
  const topics = async (...args: string[]) => await runCommandLine(['topics', ...args], { KAFKA_BROKERS: kafka.brokers })

  const NOTHING_TO_DO = ['vital.readings', 'vital.dead-letters', 'vital.rejections'].map((topic) => `${topic}: nothing to do\n`).join('')

  t.test('without topics, check says what to do', async (t) => {
    const { status, stdout } = await topics('check')
    t.equal(status, 1)
    t.match(stdout, 'the topic vital.readings does not exist: run vital-gateway topics make\n')
    t.match(stdout, 'the topic vital.dead-letters does not exist')
    t.match(stdout, 'the topic vital.rejections does not exist, so rejections of sinks are not announced: run vital-gateway topics make')
  })

  t.test('three replicas on one broker are refused by Kafka, and its reason is shown', async (t) => {
    const { status, stdout, stderr } = await topics('make')
    t.equal(status, 1)
    t.equal(stdout, '')
    t.match(stderr, /^vital-gateway topics: Kafka of KAFKA_BROKERS: .*replication factor/i)
  })

  t.test('make creates the topics, and check reports what one broker cannot provide', async (t) => {
    const { status, stdout } = await topics('make', '--replicas', '1', '--partitions', '6')
    t.equal(stdout, 'vital.readings: made, with 6 partitions of 1 replicas\nvital.dead-letters: made, with 6 partitions of 1 replicas\n' +
      'vital.rejections: made, with 6 partitions of 1 replicas\n')
    t.equal(status, 0)
    const checked = await topics('check', '--json')
    t.equal(checked.status, 1)
    const { faults } = JSON.parse(checked.stdout) as { faults: Array<{ topic: string, kind: string, message: string }> }
    t.same(faults.map(({ topic, kind }) => `${kind} ${topic}`), [
      'weak vital.readings', 'weak vital.readings', 'weak vital.dead-letters', 'weak vital.dead-letters'
    ])
    t.match(faults[0]!.message, 'its replication factor is 1, and must be 3')
    t.match(faults[1]!.message, 'min.insync.replicas is 1, and must be 2')
  })

  t.test('make again changes nothing; more partitions are added; a larger packet needs larger batches', async (t) => {
    t.equal((await topics('make', '--replicas', '1', '--partitions', '6')).stdout, NOTHING_TO_DO)
    t.match((await topics('make', '--replicas', '1')).stdout, 'vital.readings: 12 partitions now, of 6 before\n')
    t.equal((await topics('make', '--replicas', '1', '--partitions', '6')).stdout, NOTHING_TO_DO, 'no partition is removed')
    const large = { KAFKA_BROKERS: kafka.brokers, VITAL_PACKET_BYTES_MAX: String(16 * 1024 * 1024) }
    const { stdout } = await runCommandLine(['topics', 'check'], large)
    t.match(stdout, 'vital.readings: max.message.bytes is 8388608, and must be 25231360')
    const made = await runCommandLine(['topics', 'make', '--replicas', '1'], large)
    t.match(made.stdout, 'vital.readings: max.message.bytes is 25231360 now')
    t.match((await topics('make', '--replicas', '1')).stdout, 'vital.readings: nothing to do', 'a larger value stays')
  })

  t.test('make --averages also makes the topic of Flink, and corrects its settings', async (t) => {
    const make = async () => (await topics('make', '--replicas', '1', '--averages')).stdout
    t.match(await make(), 'vital.averages.5m: made, with 12 partitions of 1 replicas\n')
    t.match(await make(), 'vital.averages.5m: nothing to do\n')
    const { ConfigResourceTypes, Admin } = await loadKafkaClient('this test')
    const admin = new Admin({ clientId: 'test', bootstrapBrokers: [kafka.brokers] })
    t.teardown(() => admin.close())
    const [found] = await admin.describeConfigs({
      resources: [{
        resourceType: ConfigResourceTypes.TOPIC,
        resourceName: 'vital.averages.5m',
        configurationKeys: ['cleanup.policy', 'retention.ms', 'message.timestamp.type']
      }]
    })
    t.same(Object.fromEntries(found!.configs.map(({ name, value }) => [name, value])),
      { 'cleanup.policy': 'compact,delete', 'retention.ms': '2592000000', 'message.timestamp.type': 'LogAppendTime' })
    t.same((await topics('check', '--json')).stdout.match(/averages/), null, 'the topic of averages is not checked, because no ' +
      'gateway needs it')
  })

  t.test('doctor asks Kafka, and reports faults of its topics', async (t) => {
    const { status, stdout } = await runCommandLine(['doctor'], {
      KAFKA_BROKERS: kafka.brokers, VITAL_JOURNAL: 'kafka', VITAL_ACK_AFTER: 'spool', VITAL_DATA_DIR: await createTestDir(t)
    })
    t.equal(status, 1)
    t.match(stdout, /^ok +kafka +Kafka of KAFKA_BROKERS answers in [\d.]+ ms; an acknowledgement waits for the spool$/m)
    t.match(stdout, /^FAIL +kafka topics +vital\.readings: its replication factor is 1, and must be 3/m)
    t.match(stdout, /^ok +kafka TLS +none needed/m)
  })

  t.test('without Kafka, and with a wrong environment, a message says so', async (t) => {
    const without = await runCommandLine(['topics', 'check'])
    t.match(without, { status: 1, stderr: 'vital-gateway topics: there is no Kafka: set KAFKA_BROKERS\n' })
    const closed = await freePort()
    const away = await runCommandLine(['topics', 'check'], { KAFKA_BROKERS: `127.0.0.1:${closed}` })
    t.equal(away.status, 1)
    t.match(away.stderr, `Kafka of KAFKA_BROKERS: connect ECONNREFUSED 127.0.0.1:${closed}`)
    const file = join(await createTestDir(t), 'password')
    await writeFile(file, 'secret\n')
    const sasl = { KAFKA_BROKERS: kafka.brokers, KAFKA_SASL_MECHANISM: 'SCRAM-SHA-512', KAFKA_SASL_USERNAME: 'gateway' }
    t.match((await runCommandLine(['topics', 'check'], sasl)).stderr, 'must be set together, or none of them')
    const refused = await runCommandLine(['topics', 'check'], { ...sasl, KAFKA_SASL_PASSWORD_FILE: file })
    t.equal(refused.status, 1)
    t.notMatch(refused.stderr, /secret/)
    const tls = { KAFKA_BROKERS: kafka.brokers, KAFKA_TLS: 'true', KAFKA_TLS_CA_FILE: '/nowhere.pem' }
    const unread = await runCommandLine(['topics', 'check'], tls)
    t.match(unread.stderr, 'KAFKA_TLS_CA_FILE=/nowhere.pem cannot be read: ENOENT')
  })
}
