import { Command } from 'commander'

const NOTES = `
Examples:
  DATABASE_URL=postgres://vital:PASSWORD@db:5432/vital KAFKA_BROKERS=kafka-1:9092,kafka-2:9092 vital-gateway sink

Sinks of one VITAL_SINK_GROUP share the partitions of vital.readings and vital.dead-letters. Each batch is stored with
the offsets of its partitions in one transaction, so a sink may be killed at any time. /metrics and /health listen on
VITAL_HTTP_PORT. A sink makes the tables; upgrade sinks before gateways.
SIGTERM and SIGINT store what was read and leave the group, SIGHUP reads certificates again.
Exit status: 0 after a stop; 1 after a fault; 2 for a wrong command line.`

/** `vital-gateway sink`. Without options the program does not load this command. */
export function createCommand (): Command {
  return new Command('sink')
    .description('Stores records that gateways wrote to Kafka (VITAL_JOURNAL=kafka) in the PostgreSQL of DATABASE_URL.')
    .addHelpText('after', NOTES)
    .action(async () => { await import('../../src/sink-main.ts') })
}
