/** Packets of MQTT 3.1.1 and 5 that clients of the harness send. */
import mqttPacket from 'mqtt-packet'
import { encodePublish as encodePublishOf } from '../../broker/wire/encode.ts'
import { encodePublish5 } from '../../broker/wire/v5/encode.ts'

/** For a device that keeps its session: longer than any time between two of its connections. */
const SESSION_EXPIRY_S = 3600

/** A whole PINGREQ. */
export const PINGREQ = mqttPacket.generate({ cmd: 'pingreq' })

const DUP = 0x08

/**
 * A CONNECT.
 * @param keepaliveS - 0 turns the server's keepalive off
 * @param how.secret - the password
 * @param how.username - with a secret; the client id by default
 * @param how.protocolVersion - 4: MQTT 3.1.1
 * @param how.isClean - false: the client resends what was not acknowledged [MQTT-4.4.0-1]
 */
export function encodeConnect (
  clientId: string, keepaliveS: number, { secret = null, username = clientId, isClean = true, protocolVersion = 4 }: {
    readonly secret?: string | null, readonly username?: string, readonly isClean?: boolean, readonly protocolVersion?: 4 | 5
  } = {}
): Buffer {
  const credentials = secret === null ? {} : { username, password: Buffer.from(secret) }
  const properties = protocolVersion === 5 && !isClean ? { sessionExpiryInterval: SESSION_EXPIRY_S } : {}
  return mqttPacket.generate({
    cmd: 'connect', protocolId: 'MQTT', protocolVersion, clean: isClean, clientId, keepalive: keepaliveS, ...credentials, properties
  })
}

/**
 * A PUBLISH; its payload is the end of the packet.
 * @param messageId - from 1; without one it is QoS 0
 */
export function encodePublish (topic: string, payload: Buffer, messageId?: number, qos: 1 | 2 = 1): Buffer {
  return encodePublishOf(topic, payload, {
    qos: messageId === undefined ? 0 : qos, packetId: messageId ?? 0, isRetained: false, isDuplicate: false
  })
}

/** The same for MQTT 5, without properties. */
export function encodeMqtt5Publish (topic: string, payload: Buffer, messageId: number, qos: 1 | 2 = 1): Buffer {
  return encodePublish5({
    topic,
    topicAlias: null,
    payload,
    qos,
    packetId: messageId,
    isRetained: false,
    isDuplicate: false,
    messageExpiryS: null,
    subscriptionIdentifiers: [],
    forwarded: null
  })
}

/** Sets DUP in a PUBLISH that is sent again [MQTT-3.3.1-1]. */
export function markDuplicate (packet: Buffer): void {
  packet[0]! |= DUP
}

/** A SUBSCRIBE for these filters at QoS 0. */
export function encodeSubscribe (messageId: number, filters: readonly string[]): Buffer {
  return mqttPacket.generate({ cmd: 'subscribe', messageId, subscriptions: filters.map((topic) => ({ topic, qos: 0 })) })
}
