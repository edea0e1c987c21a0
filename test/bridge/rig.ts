import { connect } from 'node:net'
import { connectAsync, type MqttClient } from 'mqtt'
import mqttPacket from 'mqtt-packet'
import { pino } from 'pino'
import type { Test } from 'tap'
import { encodePublish } from '../../broker/wire/encode.ts'
import { createBridge } from '../../src/bridge.ts'
import type { BridgeLimits } from '../../src/bridge/limits.ts'
import { createConfig } from '../../src/config/config.ts'
import { createTestDir } from '../helpers/postgres.ts'

/** Shorter times than those of a bridge, so that a test need not wait for seconds. */
export const QUICK: Partial<BridgeLimits> = { retryMsMin: 20, retryMsMax: 100, resubmitMs: 20, connectTimeoutMs: 2000 }

interface Health {
  readonly ready: boolean
  readonly warnings: readonly string[]
}

/** A bridge in this process, stopped with the test. */
export async function startBridge (
  t: Test, variables: Readonly<Record<string, string>>, limits: Partial<BridgeLimits> = {}
) {
  const lines: Array<{ readonly msg: string, readonly level: number }> = []
  const logger = pino({ level: 'info' }, { write (line: string) { lines.push(JSON.parse(line) as typeof lines[number]) } })
  const config = createConfig({ VITAL_HTTP_PORT: '0', VITAL_DATA_DIR: await createTestDir(t), ...variables })
  const bridge = createBridge({ config, logger, limits: { ...QUICK, ...limits } })
  t.teardown(() => bridge.stop())
  const { port } = await bridge.start()
  const url = `http://127.0.0.1:${port}`
  return {
    bridge,
    url,
    lines,
    said: (pattern: RegExp) => lines.some(({ msg }) => pattern.test(msg)),
    health: async () => await (await fetch(`${url}/health/ready`)).json() as Health,
    isReady: async () => (await fetch(`${url}/health/ready`)).status === 200,
    metric: async (name: string) => {
      const text = await (await fetch(`${url}/metrics`)).text()
      const samples = [...text.matchAll(/^([a-z_0-9]+)(\{.*\})? (\S+)$/gm)]
      return samples.filter(([, bare, labels]) => bare === name || `${bare}${labels}` === name)
        .reduce((sum, [,,, value]) => sum + Number(value), 0)
    }
  }
}

/** A device of the external broker. */
export async function connectDevice (t: Test, url: string, options: { username?: string, password?: string } = {}): Promise<MqttClient> {
  const client = await connectAsync(url, { protocolVersion: 5, reconnectPeriod: 50, ...options })
  t.teardown(() => client.endAsync(true))
  return client
}

export const toReading = (timestamp: number, fields: object = { heartRateValue: 71 }): string => JSON.stringify({ timestamp, ...fields })

/**
 * Publishes at QoS 1 as one client, all at once.
 * @returns once the broker has acknowledged each
 */
export async function publishAll (
  port: number, messages: ReadonlyArray<{ readonly topic: string, readonly payload: string }>
): Promise<void> {
  const socket = connect(port, '127.0.0.1')
  const parser = mqttPacket.parser({ protocolVersion: 4 })
  socket.write(mqttPacket.generate({ cmd: 'connect', clientId: '', clean: true, keepalive: 0, protocolId: 'MQTT', protocolVersion: 4 }))
  let missing = messages.length
  const acknowledged = new Promise<void>((resolve, reject) => {
    socket.on('close', () => { reject(new Error(`the broker closed with ${missing} messages not acknowledged`)) })
    parser.on('packet', ({ cmd }) => { if (cmd === 'puback' && --missing === 0) resolve() })
  })
  socket.on('error', () => {})
  socket.on('data', (chunk) => { parser.parse(chunk) })
  socket.write(Buffer.concat(messages.map(({ topic, payload }, index) =>
    encodePublish(topic, Buffer.from(payload), { qos: 1, isRetained: false, isDuplicate: false, packetId: index + 1 }))))
  try {
    await acknowledged
  } finally {
    socket.destroy()
  }
}

/** `count` different readings of `devices` devices. */
export const toMessages = (count: number, devices = 20) => Array.from({ length: count }, (_, index) => ({
  topic: `vital/d${index % devices}`, payload: toReading(1_750_000_000 + index, { heartRateValue: 60 + index % 40 })
}))
