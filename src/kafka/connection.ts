import { readFile } from 'node:fs/promises'
import type { BaseOptions } from '@platformatic/kafka'
import { ConfigError } from '../config/config-error.ts'
import type { KafkaConfig } from '../config/kafka-config.ts'

/** Longest that a connection may take. */
const CONNECT_TIMEOUT_MS = 3000

/**
 * What every client of Kafka of ours is made with. It does not repeat what failed: whoever asks knows better when.
 * @param clientId - as brokers log it
 * @throws `ConfigError` where the file of the authorities cannot be read
 */
export async function toClientOptions ({ brokers, tls, sasl }: KafkaConfig, clientId: string) {
  return {
    clientId,
    bootstrapBrokers: brokers.map(({ host, port }) => ({ host, port })),
    connectTimeout: CONNECT_TIMEOUT_MS,
    retries: 0,
    autocreateTopics: false,
    ...tls === null ? {} : { tls: await toTls(tls), tlsServerName: true },
    ...sasl === null
      ? {}
      : {
          sasl: {
            mechanism: sasl.mechanism,
            username: sasl.username,
            // A line end behind it does not belong to it. Read anew each time, so that it can be changed.
            password: async () => (await readNamed('KAFKA_SASL_PASSWORD_FILE', sasl.passwordFile)).replace(/\r?\n$/, '')
          }
        }
  } satisfies BaseOptions
}

async function toTls ({ caFile }: NonNullable<KafkaConfig['tls']>): Promise<{ readonly ca?: string }> {
  return caFile === null ? {} : { ca: await readNamed('KAFKA_TLS_CA_FILE', caFile) }
}

async function readNamed (variable: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw new ConfigError(`${variable}=${path} cannot be read: ${(error as Error).message}`, { cause: error })
  }
}

/** The innermost cause of an error of Kafka's client, for a person: the outer ones only say what failed. */
export function toKafkaMessage (error: unknown): string {
  const { errors, cause, message } = error as { errors?: unknown[], cause?: unknown, message?: string }
  const inner = errors?.[0] ?? cause
  return inner === undefined || inner === null ? message ?? String(error) : toKafkaMessage(inner)
}

/** Whether Kafka, or the way to it, is at fault; else it is a defect. */
export function isKafkaError (error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' && code.startsWith('PLT_KFK_')
}
