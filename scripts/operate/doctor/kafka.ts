import type { Config } from '../../../src/config/config.ts'
import { ConfigError } from '../../../src/config/config-error.ts'
import { KafkaError, createKafkaLog } from '../../../src/kafka/kafka-log.ts'
import { toMessageBytesMin } from '../../../src/kafka/limits.ts'
import { isLoopback } from '../../../src/transport/transport-config.ts'
import { fail, type Finding, ok, warn } from './finding.ts'

/** Kafka, its topics and the connection to it; nothing without `KAFKA_BROKERS`. It writes nothing there. */
export async function checkKafka (config: Pick<Config, 'kafka' | 'journal' | 'packetBytesMax'>): Promise<Finding[]> {
  const { kafka, journal, packetBytesMax } = config
  if (kafka === null) return []
  const check = 'kafka'
  let log
  try {
    log = await createKafkaLog({
      kafka, asked: 'KAFKA_BROKERS', clientId: 'vital-gateway-doctor', messageBytesMin: toMessageBytesMin(packetBytesMax)
    })
    const startedAtMs = performance.now()
    const faults = await log.check()
    const answeredMs = performance.now() - startedAtMs
    // The check has reported missing topics.
    if (!faults.some(({ kind }) => kind === 'wrong')) await log.ping()
    const waitsFor = journal.ackAfter === 'spool' ? 'the spool' : 'its replicas'
    const use = journal.kind === 'kafka' ? `an acknowledgement waits for ${waitsFor}` : 'it is not the journal'
    return [
      ok(check, `Kafka of KAFKA_BROKERS answers in ${answeredMs.toFixed(1)} ms; ${use}`),
      checkEncryption(kafka),
      ...faults.map(({ kind, message }) => {
        const find = kind === 'minor' || (kind === 'weak' && kafka.isWeakAllowed) ? warn : fail
        return find('kafka topics', message, 'vital-gateway topics make')
      })
    ]
  } catch (error) {
    if (error instanceof ConfigError) return [fail(check, error.message)]
    if (!(error instanceof KafkaError)) throw error
    const advice = 'start it, or correct KAFKA_BROKERS, KAFKA_TLS and KAFKA_SASL_…'
    return [fail(check, `Kafka of KAFKA_BROKERS: ${error.message}`, advice)]
  } finally {
    await log?.close()
  }
}

function checkEncryption ({ brokers, tls }: NonNullable<Config['kafka']>): Finding {
  const check = 'kafka TLS'
  if (tls !== null) return ok(check, 'TLS to every broker')
  const far = brokers.find(({ host }) => !isLoopback(host))
  if (far === undefined) return ok(check, 'none needed: every broker of KAFKA_BROKERS is on this machine')
  return warn(check, `readings cross the network to ${far.host} unencrypted`, 'give the brokers certificates, and set KAFKA_TLS=true')
}
