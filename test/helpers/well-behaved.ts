import { connect } from 'node:net'
import { once } from 'node:events'
import mqttPacket from 'mqtt-packet'
import type { Test } from 'tap'
import type { MqttClient } from 'mqtt'
import { connectClient, type TestGateway } from './gateway.ts'

/**
 * A device that publishes during an attack: 20 ms after each acknowledgement it sends the next reading.
 * @returns `end` settles with the number of acknowledged readings; it rejects when one was not, or the connection was closed
 */
export async function startWellBehaved (
  t: Test, { mqttPort }: Pick<TestGateway, 'mqttPort'>, options: { clientId?: string, username?: string, password?: string } = {}
) {
  const { clientId = 'well-behaved' } = options
  const client: MqttClient = await connectClient(t, mqttPort, { ...options, clientId })
  let acknowledged = 0
  let isClosed = false
  const ending = new AbortController()
  client.on('close', () => { isClosed = true })
  const publishing = (async () => {
    while (!ending.signal.aborted) {
      await client.publishAsync(`vital/${clientId}`, JSON.stringify({
        timestamp: 1_750_000_000 + acknowledged, heartRateValue: 60
      }), { qos: 1 })
      acknowledged++
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  })()
  return {
    acknowledged: () => acknowledged,
    async end (): Promise<number> {
      ending.abort()
      await publishing
      if (isClosed) throw new Error('the well-behaved device was disconnected')
      return acknowledged
    }
  }
}

/** One MQTT connection of an attacker: writes bytes as they are and counts acknowledgements. */
export async function openHostile (t: Test, port: number, clientId: string) {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true })
  t.teardown(() => { socket.destroy() })
  const seen = { pubacks: 0, subacks: 0, publishes: 0, isClosed: false }
  const parser = mqttPacket.parser()
  parser.on('packet', ({ cmd }) => {
    if (cmd === 'puback') seen.pubacks++
    else if (cmd === 'suback') seen.subacks++
    else if (cmd === 'publish') seen.publishes++
  })
  socket.on('data', (chunk) => { parser.parse(chunk) })
  socket.on('close', () => { seen.isClosed = true })
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(mqttPacket.generate({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, clientId, keepalive: 0 }))
  return { socket, seen }
}

export function publishOf (topic: string, payload: string | Buffer, messageId: number): Buffer {
  return mqttPacket.generate({ cmd: 'publish', topic, payload, qos: 1, messageId, retain: false, dup: false })
}
