import { Command } from 'commander'
import { checkTopics, makeTopics } from '../../../src/kafka/topics.ts'
import { toPrintableJson } from '../../command-line/printable.ts'
import type { CommandSurroundings } from '../../command-line/surroundings.ts'
import { numberOption } from '../../command-line/values.ts'
import { createTrimCommand } from './trim.ts'
import { withAdmin } from './with-admin.ts'

const NOTES = `
Examples:
  vital-gateway topics make
  vital-gateway topics check
  vital-gateway topics trim --dry-run
  vital-gateway topics make --partitions 6 --replicas 1     on one broker, for a try

The topics are vital.readings and vital.dead-letters. Kafka keeps their records until trim deletes them:
those that every consumer has stored, less the last 24 hours. vital.rejections holds refusals of sinks for an hour,
so that gateways announce them. vital.averages.5m is for Flink, which fills it: compacted, and kept for a month.
make changes settings that are wrong, and adds partitions; it removes none, and moves no replicas.
KAFKA_BROKERS and the other variables of Kafka are the gateway's; .env is read.
Exit status: 0; 1 when it failed, or check found something; 2 for a wrong command line.`

interface MakeValues {
  readonly partitions: number
  readonly replicas: number
  readonly averages?: boolean
}

/** `vital-gateway topics`. */
export function createCommand (surroundings: CommandSurroundings): Command {
  const { print, finish } = surroundings
  const command = new Command('topics')
    .description('Makes the topics of Kafka with the settings that they need, checks them, and deletes stored records.')
    .addHelpText('after', NOTES)
  command.command('make')
    .description('make the topics, or correct their settings')
    .addOption(numberOption('--partitions <n>', 'at least this many', { min: 1, max: 1000, isWhole: true }).default(12))
    .addOption(numberOption('--replicas <n>', 'copies of a new topic', { min: 1, max: 100, isWhole: true }).default(3))
    .option('--averages', 'also vital.averages.5m, for Flink')
    .action(async ({ partitions, replicas, averages: hasAverages = false }: MakeValues) => {
      print((await withAdmin(surroundings, 'vital-gateway topics', (client, admin, messageBytesMin) =>
        makeTopics(client, admin, { partitions, replicas, hasAverages, messageBytesMin }))).join('\n'))
    })
  command.command('check')
    .description('tell what is wrong with the topics')
    .option('--json', 'print JSON')
    .action(async ({ json }: { readonly json?: boolean }) => {
      const { faults } = await withAdmin(surroundings, 'vital-gateway topics', checkTopics)
      if (json === true) print(toPrintableJson({ ok: faults.length === 0, faults }))
      else if (faults.length === 0) print('vital.readings, vital.dead-letters and vital.rejections are right')
      else print(faults.map(({ message }) => message).join('\n'))
      finish(faults.length === 0 ? 0 : 1)
    })
  command.addCommand(createTrimCommand(surroundings))
  return command
}
