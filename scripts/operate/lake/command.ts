import { Command } from 'commander'
import type { CommandSurroundings } from '../../command-line/surroundings.ts'
import { createCompactCommand } from './compact.ts'

const NOTES = `
Examples:
  VITAL_LAKE_URL=s3://vital-lake/readings DATABASE_URL=postgres://vital:PASSWORD@db:5432/vital \\
    KAFKA_BROKERS=kafka-1:9092,kafka-2:9092 vital-gateway lake

  vital-gateway lake compact --dry-run

Lakes of one VITAL_LAKE_GROUP share the partitions of vital.readings. A lake may be killed at any time. It needs the
tables that gateways and sinks make in PostgreSQL: topics trim waits for the position there. Credentials are found as
the programs of AWS find them; AWS_ENDPOINT_URL_S3 names another store. /metrics and /health listen on VITAL_HTTP_PORT.
SIGTERM and SIGINT leave the group, SIGHUP reads certificates again.
Exit status: 0 after a stop; 1 after a fault; 2 for a wrong command line.`

/** `vital-gateway lake`. Without options the program does not load this command. */
export function createCommand (surroundings: CommandSurroundings): Command {
  return new Command('lake')
    .description('Writes the readings that gateways wrote to Kafka (VITAL_JOURNAL=kafka) to VITAL_LAKE_URL, as files of Parquet.')
    .addHelpText('after', NOTES)
    .action(async () => { await import('../../../src/lake-main.ts') })
    .addCommand(createCompactCommand(surroundings))
}
