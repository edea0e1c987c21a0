import { Command } from 'commander'

const NOTES = `
Examples:
  VITAL_EXPORT_URL=http://127.0.0.1:8086 DATABASE_URL=postgres://vital:PASSWORD@db:5432/vital \\
    KAFKA_BROKERS=kafka-1:9092,kafka-2:9092 vital-gateway export

VITAL_EXPORT_KIND names the database: influxdb1, influxdb2, influxdb3, victoriametrics or questdb. Exports of one
VITAL_EXPORT_GROUP share the partitions of vital.readings. A point that is written again replaces itself, so an export
may be killed at any time. It needs the tables that gateways and sinks make in PostgreSQL. /metrics and /health listen
on VITAL_HTTP_PORT. SIGTERM and SIGINT write what was read and leave the group, SIGHUP reads certificates again.
Exit status: 0 after a stop; 1 after a fault; 2 for a wrong command line.`

/** `vital-gateway export`. Without options the program does not load this command. */
export function createCommand (): Command {
  return new Command('export')
    .description('Writes the readings that gateways wrote to Kafka (VITAL_JOURNAL=kafka) to a time-series database, by line protocol.')
    .addHelpText('after', NOTES)
    .action(async () => { await import('../../src/export-main.ts') })
}
