import { randomBytes } from 'node:crypto'
import mqttPacket, { type IConnackPacket } from 'mqtt-packet'
import { PUBLISH, typeOf } from '../../broker/wire/fixed-header.ts'
import { REASONS5 } from '../../broker/wire/v5/reason-codes.ts'
import type { BridgeConfig } from '../config/bridge-config.ts'
import { toConnect } from './connect-packet.ts'
import { decodeControl, MQTT5 } from './control-packet.ts'
import { BRIDGE_LIMITS } from './limits.ts'
import { openSocket, readPassword } from './open-socket.ts'
import { PacketFrames } from './packet-frames.ts'
import { type Terms, toTerms } from './terms.ts'
import { UpstreamError } from './upstream-error.ts'

const BYTES_MAX = 65_536

/**
 * Connects under another client id and disconnects at once. It does not subscribe, or it would receive messages of the
 * group.
 * @returns what the broker grants
 * @throws UpstreamError if the broker does not answer, refuses, or lacks a feature that the bridge needs
 */
export async function askBroker (config: BridgeConfig): Promise<Terms> {
  const timeout = AbortSignal.timeout(BRIDGE_LIMITS.connectTimeoutMs)
  const password = config.login === null ? null : await readPassword(config.login.passwordFile)
  const socket = await openSocket(config, { timeoutMs: BRIDGE_LIMITS.connectTimeoutMs, signal: timeout })
  try {
    const connack = await new Promise<IConnackPacket>((resolve, reject) => {
      const frames = new PacketFrames({
        bodyBytesMax: BYTES_MAX,
        onPacket (firstByte, bytes, start, end) {
          if (typeOf(firstByte) === PUBLISH) return
          const packet = decodeControl(firstByte, bytes.subarray(start, end))
          if (packet.cmd === 'connack') resolve(packet)
        }
      })
      socket.on('data', (chunk: Buffer) => {
        try {
          frames.take(chunk)
        } catch (cause) {
          reject(new UpstreamError(`the server at ${config.host}:${config.port} does not speak MQTT`, { cause }))
        }
      })
      socket.on('error', (cause) => { reject(new UpstreamError(`the connection failed: ${cause.message}`, { cause })) })
      socket.on('close', () => { reject(new UpstreamError('the broker closed the connection')) })
      timeout.addEventListener('abort', () => { reject(new UpstreamError('the broker does not answer CONNECT')) })
      const clientId = `${config.clientId ?? 'vital-bridge'}-doctor-${randomBytes(4).toString('hex')}`
      const connect = toConnect({ ...BRIDGE_LIMITS, clientId, username: config.login?.username ?? null, password })
      socket.write(mqttPacket.generate(connect, MQTT5))
    })
    const { sessionExpiryS, keepAliveS } = BRIDGE_LIMITS
    const terms = toTerms(connack, { sessionExpiryS, keepAliveS, hasSession: false })
    // No session is left behind.
    const disconnect = { cmd: 'disconnect' as const, reasonCode: REASONS5.success, properties: { sessionExpiryInterval: 0 } }
    socket.end(mqttPacket.generate(disconnect, MQTT5))
    return terms
  } finally {
    if (socket.writable) socket.destroy()
  }
}
