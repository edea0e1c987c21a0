import type { Admin } from '@platformatic/kafka'
import { ConfigError } from '../../../src/config/config-error.ts'
import type { AskOptions } from '../../../src/kafka/ask-leader-epochs.ts'
import { isKafkaError, toClientOptions, toKafkaMessage } from '../../../src/kafka/connection.ts'
import { toMessageBytesMin } from '../../../src/kafka/limits.ts'
import { type KafkaClient, loadKafkaClient } from '../../../src/kafka/load-client.ts'
import { OperatorError } from '../../command-line/operator-error.ts'
import type { CommandSurroundings } from '../../command-line/surroundings.ts'

const REQUEST_TIMEOUT_MS = 10_000

/**
 * Runs `run` with Kafka of the gateway.
 * @param asked - the command, for messages: `vital-gateway topics`
 * @throws `OPERATOR_FAILED`
 */
export async function withAdmin<T> (
  { readConfig }: CommandSurroundings, asked: string,
  run: (client: KafkaClient, admin: Admin, messageBytesMin: number, ask: AskOptions) => Promise<T>
): Promise<T> {
  const { kafka, packetBytesMax } = readConfig()
  if (kafka === null) throw new OperatorError('OPERATOR_FAILED', 'there is no Kafka: set KAFKA_BROKERS')
  let admin: Admin | undefined
  try {
    const client = await loadKafkaClient(asked)
    const connection = await toClientOptions(kafka, asked.replace(' ', '-'))
    admin = new client.Admin(connection)
    return await run(client, admin, toMessageBytesMin(packetBytesMax), { client, admin, connection, requestTimeoutMs: REQUEST_TIMEOUT_MS })
  } catch (cause) {
    if (cause instanceof ConfigError) throw new OperatorError('OPERATOR_FAILED', cause.message, { cause })
    if (!isKafkaError(cause)) throw cause
    throw new OperatorError('OPERATOR_FAILED', `Kafka of KAFKA_BROKERS: ${toKafkaMessage(cause)}`, { cause })
  } finally {
    await admin?.close()
  }
}
