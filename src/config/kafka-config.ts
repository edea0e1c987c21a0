import { resolve } from 'node:path'
import type { Environment } from '../../schemas/environment.ts'
import { toList } from '../transport/transport-config.ts'
import { ConfigError } from './config-error.ts'

/** The brokers of Kafka, and the login. */
export interface KafkaConfig {
  /** The start goes on although topics would lose acknowledged readings with one machine. */
  readonly isWeakAllowed: boolean
  readonly brokers: ReadonlyArray<{ readonly host: string, readonly port: number }>
  readonly tls: { readonly caFile: string | null } | null
  /** `null`: no login. */
  readonly sasl: {
    readonly mechanism: 'SCRAM-SHA-256' | 'SCRAM-SHA-512'
    readonly username: string
    readonly passwordFile: string
  } | null
}

/**
 * The slice of the configuration for Kafka; `null` without KAFKA_BROKERS.
 * @throws `ConfigError` for names that need each other
 */
export function toKafkaConfig (values: Environment): KafkaConfig | null {
  const { KAFKA_BROKERS: brokers, KAFKA_TLS: isTls, KAFKA_TLS_CA_FILE: caFile } = values
  const sasl = toSasl(values)
  if (caFile !== '' && !isTls) throw new ConfigError('KAFKA_TLS_CA_FILE needs KAFKA_TLS=true.')
  if (brokers === undefined) {
    if (isTls || sasl !== null) throw new ConfigError('KAFKA_TLS and KAFKA_SASL_* need KAFKA_BROKERS.')
    return null
  }
  return Object.freeze({
    isWeakAllowed: values.VITAL_KAFKA_ALLOW_WEAK,
    brokers: toBrokers(brokers),
    tls: isTls ? { caFile: caFile === '' ? null : resolve(caFile) } : null,
    sasl
  })
}

/**
 * The journal, and what an acknowledgement waits for. `target`: PostgreSQL, or the in-sync replicas of Kafka.
 * @throws `ConfigError` for names that need each other
 */
export function toJournalConfig (values: Environment): { readonly kind: 'postgres' | 'kafka', readonly ackAfter: 'target' | 'spool' } {
  const { VITAL_JOURNAL: kind, VITAL_ACK_AFTER: after, KAFKA_BROKERS: brokers } = values
  if (kind === 'kafka' && brokers === undefined) throw new ConfigError('VITAL_JOURNAL=kafka needs KAFKA_BROKERS.')
  if (kind === 'postgres' && after === 'spool') throw new ConfigError('VITAL_ACK_AFTER=spool needs VITAL_JOURNAL=kafka.')
  return Object.freeze({ kind, ackAfter: after === 'spool' ? 'spool' : 'target' })
}

function toBrokers (text: string): KafkaConfig['brokers'] {
  const brokers = toList(text).map((item) => {
    const [, ipv6, name, digits] = /^(?:\[([0-9a-f:.]+)\]|([^\s:/@[\],]+)):(\d{1,5})$/i.exec(item) ?? []
    const host = ipv6 ?? name
    const port = Number(digits)
    return host !== undefined && port > 0 && port < 65_536 ? { host, port } : null
  })
  const isGood = (broker: typeof brokers[number]) => broker !== null
  if (brokers.length === 0 || !brokers.every(isGood)) {
    throw new ConfigError('KAFKA_BROKERS must list brokers as host:port, separated by commas, such as kafka-1:9092,kafka-2:9092.')
  }
  return brokers
}

function toSasl (values: Environment): KafkaConfig['sasl'] {
  const { KAFKA_SASL_MECHANISM: mechanism, KAFKA_SASL_USERNAME: username, KAFKA_SASL_PASSWORD_FILE: passwordFile } = values
  if (mechanism === undefined && username === '' && passwordFile === '') return null
  if (mechanism === undefined || username === '' || passwordFile === '') {
    throw new ConfigError('KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD_FILE must be set together, or none of them.')
  }
  return { mechanism, username, passwordFile: resolve(passwordFile) }
}
