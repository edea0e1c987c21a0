import { Command } from 'commander'

const NOTES = `
Examples:
  DATABASE_URL=postgres://vital:PASSWORD@db:5432/vital VITAL_BRIDGE_URL=mqtts://broker:8883 \\
    VITAL_BRIDGE_TOPIC=ward/monitor/{device} VITAL_DATA_DIR=/var/lib/vital-bridge vital-gateway bridge

It subscribes at QoS 1 as a member of VITAL_BRIDGE_GROUP, and acknowledges a message once its readings are durable:
in the journal of gateways, or fsynced in the spool of its own data directory. Payloads are those of
vital/{device}. /metrics and /health listen on VITAL_HTTP_PORT.
SIGTERM and SIGINT store the readings read so far and leave; the session stays at the broker. SIGHUP reads
certificates again.
Exit status: 0 after a stop; 1 after a fault; 2 for a wrong command line.`

/** `vital-gateway bridge`. Without options the program does not load this command. */
export function createCommand (): Command {
  return new Command('bridge')
    .description('Takes readings from the external MQTT 5 broker of VITAL_BRIDGE_URL, by shared subscription.')
    .addHelpText('after', NOTES)
    .action(async () => { await import('../../src/bridge-main.ts') })
}
