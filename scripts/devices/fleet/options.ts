import { type Command, Option } from 'commander'
import { usageError } from '../../command-line/operator-error.ts'
import { numberOption } from '../../command-line/values.ts'
import type { LoginOptions } from './logins.ts'

/** What {@link addFleetOptions} yields, as commander names it. */
export interface FleetValues {
  readonly url: string
  readonly inFlight: number
  readonly patience: number
  readonly credentials?: string
  readonly username?: string
  readonly passwordFile?: string
  readonly tokenFile?: string
  readonly ca?: string
  readonly mqttVersion: '3.1.1' | '5'
}

/** The last paragraph of a fleet's help. */
export const FLEET_NOTES = `Progress goes to stderr, the report to stdout. Ctrl-C stops sending and reports; a second one ends at once.
Exit status: 0 when everything sent is acknowledged and nothing was rejected; 1 otherwise; 2 for a wrong command line.`

/** Options of every fleet. */
export function addFleetOptions (command: Command): Command {
  return command
    .option('--url <url>', 'the gateway: mqtt://, mqtts://, ws:// or wss://', 'mqtt://127.0.0.1:1883')
    .option('--credentials <file>', 'a secret for each device, as vital-gateway credentials import writes them')
    .option('--username <name>', 'for all devices, with --password-file (default: the device\'s own id)')
    .option('--password-file <file>', 'holds the secret of --username')
    .option('--token-file <file>', 'holds an access token (JWT) in the place of a password')
    .option('--ca <file>', 'certificates (PEM) to trust instead of the system\'s, for mqtts:// and wss://')
    .addOption(new Option('--mqtt-version <version>', 'MQTT 3.1.1 or 5').choices(['3.1.1', '5']).default('3.1.1'))
    // MQTT has 65,535 packet ids per client; far fewer already saturate a gateway.
    .addOption(numberOption('--in-flight <n>', 'readings that a device sends ahead of their acknowledgements', {
      min: 1, max: 10_000, isWhole: true
    }).default(16))
    .addOption(numberOption('--patience <seconds>', 'give up when no acknowledgement comes for this time', {
      min: 0.1, max: 86_400
    }).default(60))
}

/** Checks rules over several options. @throws `OPERATOR_USAGE` */
export function toFleetOptions (values: FleetValues): {
  readonly url: string
  readonly protocolVersion: 4 | 5
  readonly inFlightMax: number
  readonly patienceMs: number
  readonly login: LoginOptions
} {
  const { url, inFlight, patience, credentials, username, passwordFile, tokenFile, ca, mqttVersion } = values
  if (!/^(?:mqtts?|tcp|wss?):\/\/[^/]/.test(url) || !URL.canParse(url)) {
    throw usageError('--url must look like mqtt://host:port (or mqtts, ws, wss)')
  }
  const { username: urlUser, password: urlPassword } = new URL(url)
  if (urlUser !== '' || urlPassword !== '') {
    throw usageError('--url must hold no user and no password: others would see them. Use --username and --password-file')
  }
  if ([credentials, passwordFile, tokenFile].filter((file) => file !== undefined).length > 1) {
    throw usageError('give one of --credentials, --password-file and --token-file')
  }
  if (username !== undefined && passwordFile === undefined && tokenFile === undefined) {
    throw usageError('--username needs --password-file or --token-file')
  }
  return {
    url,
    protocolVersion: mqttVersion === '5' ? 5 : 4,
    inFlightMax: inFlight,
    patienceMs: 1000 * patience,
    login: { username, passwordFile, tokenFile, credentialsFile: credentials, ca }
  }
}
