import { connect as connectMqtt, type IClientOptions, type MqttClient } from 'mqtt'
import { type Logger, pino } from 'pino'
import type { Test } from 'tap'
import { createConfig } from '../../src/config/config.ts'
import { createGateway, type GatewayOptions } from '../../src/gateway.ts'
import { createTestDatabase, createTestDir } from './postgres.ts'

export interface TestGateway {
  readonly mqttPort: number
  /** `null` without a certificate. */
  readonly mqttsPort: number | null
  readonly httpPort: number
  /** `null` where metrics and health are at `httpPort`. */
  readonly adminPort: number | null
  /** `null` without gRPC. */
  readonly grpcPort: number | null
  readonly httpUrl: string
  readonly connectionString: string
  /** Does the same as SIGHUP. */
  reload (): Promise<void>
  stop (): Promise<void>
}

/** A gateway in this process on free ports, with a database of its own; stopped when the test ends. */
export async function startGateway (
  t: Test, variables: Record<string, string> = {}, faults: GatewayOptions['faults'] = {},
  logger: Logger = pino({ level: process.env['LOG'] ?? 'silent' })
): Promise<TestGateway> {
  const connectionString = variables['DATABASE_URL'] ?? (await createTestDatabase(t)).connectionString
  const dataDir = variables['VITAL_DATA_DIR'] ?? await createTestDir(t)
  // The default limit of connections exceeds the open files of many machines, and would add a warning to those that tests look at.
  const config = createConfig({
    DATABASE_URL: connectionString,
    VITAL_MQTT_PORT: '0',
    VITAL_MQTTS_PORT: '0',
    VITAL_HTTP_PORT: '0',
    VITAL_CONNECTIONS_MAX: '2000',
    ...variables,
    VITAL_DATA_DIR: dataDir
  })
  const gateway = createGateway({ config, logger, faults })
  t.teardown(() => gateway.stop())
  const ports = await gateway.start()
  return {
    ...ports,
    httpUrl: `http://127.0.0.1:${ports.httpPort}`,
    reload: gateway.reload,
    stop: () => gateway.stop()
  }
}

/** A connected MQTT.js client, ended when the test ends. */
export async function connectClient (t: Test, port: number, options: IClientOptions = {}): Promise<MqttClient> {
  const client = connectMqtt({ host: '127.0.0.1', port, reconnectPeriod: 0, ...options })
  client.on('error', () => {})
  t.teardown(() => client.endAsync(true))
  await new Promise<void>((resolve, reject) => {
    client.once('connect', () => resolve())
    client.once('error', reject)
  })
  return client
}

/** The ledger of a scrape, summed over transports; `balance` is 0 when it balances. */
export async function readLedger (httpUrl: string, headers: Record<string, string> = {}) {
  const text = await (await fetch(`${httpUrl}/metrics`, { headers })).text()
  const sum = (name: string) => [...text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\d+)`, 'gm'))]
    .reduce((total, [, value]) => total + Number(value), 0)
  const received = sum('vital_readings_received_total')
  const stored = sum('vital_readings_stored_total')
  const logged = sum('vital_readings_logged_total')
  const duplicate = sum('vital_readings_duplicate_total')
  const deadLettered = sum('vital_readings_dead_lettered_total')
  const refused = sum('vital_readings_refused_total')
  const pending = sum('vital_readings_pending')
  return {
    received,
    stored,
    logged,
    duplicate,
    deadLettered,
    refused,
    pending,
    balance: received - stored - logged - duplicate - deadLettered - refused - pending
  }
}
