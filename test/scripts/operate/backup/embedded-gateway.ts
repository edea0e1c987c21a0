import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { MqttClient } from 'mqtt'
import pg from 'pg'
import { pino } from 'pino'
import type { Test } from 'tap'
import { createConfig } from '../../../../src/config/config.ts'
import { createGateway } from '../../../../src/gateway.ts'
import { connectClient, readLedger } from '../../../helpers/gateway.ts'
import { query } from '../../../helpers/embedded.ts'
import { until } from '../../../helpers/until.ts'

/** A gateway in this process with the embedded PostgreSQL of `dataDir`. */
export async function startEmbeddedGateway (t: Test, dataDir: string, variables: Record<string, string> = {}) {
  const config = createConfig({ VITAL_DATA_DIR: dataDir, VITAL_MQTT_PORT: '0', VITAL_HTTP_PORT: '0', ...variables })
  const gateway = createGateway({ config, logger: pino({ level: 'silent' }) })
  t.teardown(() => gateway.stop())
  const { mqttPort, httpPort, connectionString } = await gateway.start()
  return {
    mqttPort,
    httpUrl: `http://127.0.0.1:${httpPort}`,
    query: (text: string) => query(connectionString, text),
    connectionString,
    spool: join(dataDir, 'spool'),
    stop: () => gateway.stop()
  }
}

/** A reading of the load, the `n`th of its device. */
export interface Sent {
  readonly device: string
  readonly n: number
  /** Unix milliseconds of the acknowledgement; `null` without one. */
  acknowledgedAtMs: number | null
}

/** Publishes a few thousand readings a second over many connections, with some in flight on each, until it is stopped. */
export async function startLoad (t: Test, mqttPort: number, devices = 10, inFlight = 5) {
  const stop = new AbortController()
  const sent: Sent[] = []
  const run = async (client: MqttClient, device: string, counter: { n: number }) => {
    while (!stop.signal.aborted) {
      const reading: Sent = { device, n: counter.n++, acknowledgedAtMs: null }
      sent.push(reading)
      await client.publishAsync(`vital/${device}`, JSON.stringify({
        timestamp: 1_750_000_000 + reading.n, heartRateValue: reading.n % 200, n: reading.n
      }), { qos: 1 })
      reading.acknowledgedAtMs = Date.now()
      await sleep(5)
    }
  }
  const clients = await Promise.all(Array.from({ length: devices }, () => connectClient(t, mqttPort)))
  const runs = clients.flatMap((client, index) => {
    const counter = { n: 0 }
    return Array.from({ length: inFlight }, () => run(client, `load-${index}`, counter))
  })
  return {
    sent,
    async stop () {
      stop.abort()
      await Promise.all(runs)
      await Promise.all(clients.map((client) => client.endAsync()))
    }
  }
}

/**
 * Takes and releases a lock that blocks writes of readings, again and again, so that readings go into the spool and out of it.
 */
export function startCuts (connectionString: string, { cutMs, openMs }: { cutMs: number, openMs: number }) {
  const stop = new AbortController()
  const pause = (ms: number) => sleep(ms, undefined, { signal: stop.signal }).catch(() => {})
  let tellHeld = () => {}
  const held = new Promise<void>((resolve) => { tellHeld = resolve })
  const run = async () => {
    const client = new pg.Client({ connectionString })
    client.on('error', () => {})
    await client.connect()
    while (!stop.signal.aborted) {
      await client.query('begin; lock table readings in exclusive mode')
      tellHeld()
      await pause(cutMs)
      await client.query('commit')
      await pause(openMs)
    }
    await client.end()
  }
  const running = run()
  return {
    /** Settles when the lock is held for the first time. */
    held,
    async stop () {
      stop.abort()
      await running
    }
  }
}

/** Settles when nothing waits in the spool. */
export async function drained (httpUrl: string): Promise<void> {
  await until(async () => (await readLedger(httpUrl)).pending === 0, 'the spool to be replayed')
}
