import { readFile } from 'node:fs/promises'
import type { BaseOptions } from '@platformatic/kafka'
import { ConfigError } from '../config/config-error.ts'
import type { KafkaConfig } from '../config/kafka-config.ts'

/** Longest that connecting may take. */
const CONNECT_TIMEOUT_MS = 3000

/**
 * Options of every Kafka client. Clients do not retry; their callers do.
 * @param clientId - name that brokers log
 * @throws `ConfigError` if the CA file cannot be read
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
            // Read at each login, so that it can be changed. A line end at the end of the file is not part of it.
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

/** The message of the innermost cause of a client error; the outer errors only say which operation failed. */
export function toKafkaMessage (error: unknown): string {
  const { errors, cause, message } = error as { errors?: unknown[], cause?: unknown, message?: string }
  const inner = errors?.[0] ?? cause
  return inner === undefined || inner === null ? message ?? String(error) : toKafkaMessage(inner)
}

/** Whether Kafka or the network is at fault. Any other error is a defect. */
export function isKafkaError (error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' && code.startsWith('PLT_KFK_')
}
