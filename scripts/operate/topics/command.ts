import { Command } from 'commander'
import { ConfigError } from '../../../src/config/config-error.ts'
import { isKafkaError, toClientOptions, toKafkaMessage } from '../../../src/kafka/connection.ts'
import { toMessageBytesMin } from '../../../src/kafka/limits.ts'
import { type KafkaClient, loadKafkaClient } from '../../../src/kafka/load-client.ts'
import { checkTopics, makeTopics } from '../../../src/kafka/topics.ts'
import { OperatorError } from '../../command-line/operator-error.ts'
import { toPrintableJson } from '../../command-line/printable.ts'
import type { CommandSurroundings } from '../../command-line/surroundings.ts'
import { numberOption } from '../../command-line/values.ts'

const NOTES = `
Examples:
  vital-gateway topics make
  vital-gateway topics check
  vital-gateway topics make --partitions 6 --replicas 1     on one broker, for a try

The topics are vital.readings and vital.dead-letters. Kafka keeps their records until what reads them has stored them.
make changes settings that are wrong, and adds partitions; it takes none away, and moves no replicas.
KAFKA_BROKERS and the other variables of Kafka are the gateway's; .env is read.
Exit status: 0; 1 when it failed, or check found something; 2 for a wrong command line.`

type Admin = InstanceType<KafkaClient['Admin']>

interface MakeValues {
  readonly partitions: number
  readonly replicas: number
}

/** `vital-gateway topics`. */
export function createCommand (surroundings: CommandSurroundings): Command {
  const { print, finish } = surroundings
  const command = new Command('topics')
    .description('The topics of Kafka: makes them with the settings that they need, and checks them.')
    .addHelpText('after', NOTES)
  command.command('make')
    .description('make the topics, or correct their settings')
    .addOption(numberOption('--partitions <n>', 'at least as many', { min: 1, max: 1000, isWhole: true }).default(12))
    .addOption(numberOption('--replicas <n>', 'copies of each, where a topic is made', { min: 1, max: 100, isWhole: true }).default(3))
    .action(async (values: MakeValues) => {
      print((await withAdmin(surroundings, (client, admin, messageBytesMin) =>
        makeTopics(client, admin, { ...values, messageBytesMin }))).join('\n'))
    })
  command.command('check')
    .description('tell what is wrong with the topics')
    .option('--json', 'for a program')
    .action(async ({ json }: { readonly json?: boolean }) => {
      const { faults } = await withAdmin(surroundings, checkTopics)
      if (json === true) print(toPrintableJson({ ok: faults.length === 0, faults }))
      else if (faults.length === 0) print('vital.readings and vital.dead-letters are as they must be')
      else print(faults.map(({ message }) => message).join('\n'))
      finish(faults.length === 0 ? 0 : 1)
    })
  return command
}

async function withAdmin<T> (
  { readConfig }: CommandSurroundings, run: (client: KafkaClient, admin: Admin, messageBytesMin: number) => Promise<T>
): Promise<T> {
  const { kafka, packetBytesMax } = readConfig()
  if (kafka === null) throw new OperatorError('OPERATOR_FAILED', 'there is no Kafka: set KAFKA_BROKERS')
  let admin: Admin | undefined
  try {
    const client = await loadKafkaClient('vital-gateway topics')
    admin = new client.Admin(await toClientOptions(kafka, 'vital-gateway-topics'))
    return await run(client, admin, toMessageBytesMin(packetBytesMax))
  } catch (cause) {
    if (cause instanceof ConfigError) throw new OperatorError('OPERATOR_FAILED', cause.message, { cause })
    if (!isKafkaError(cause)) throw cause
    throw new OperatorError('OPERATOR_FAILED', `Kafka of KAFKA_BROKERS: ${toKafkaMessage(cause)}`, { cause })
  } finally {
    await admin?.close()
  }
}
