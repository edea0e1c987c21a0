import { Command } from 'commander'

const NOTES = `
Examples:
  vital-gateway
  VITAL_DATA_DIR=/var/lib/vital-gateway VITAL_MQTT_PORT=1884 vital-gateway serve

Settings are environment variables, or lines of .env in the working directory; .env.example lists all.
Signals: SIGTERM and SIGINT stop after draining, SIGHUP reads certificates again.
Exit status: 0 after a stop; 1 after a fault; 2 for a wrong command line.`

/** `vital-gateway serve`. Without options the program does not load this command. */
export function createCommand (): Command {
  return new Command('serve')
    .description('Runs a gateway: MQTT, HTTP, and an embedded PostgreSQL unless DATABASE_URL names another.')
    .addHelpText('after', NOTES)
    .action(async () => { await import('../../src/main.ts') })
}
