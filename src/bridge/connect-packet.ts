import type { IConnectPacket } from 'mqtt-packet'
import type { BridgeLimits } from './limits.ts'

interface Connecting extends Pick<BridgeLimits, 'keepAliveS' | 'sessionExpiryS' | 'receiveMaximum'> {
  readonly clientId: string
  readonly username: string | null
  readonly password: Buffer | null
}

/** CONNECT of a bridge: it resumes the earlier session, which outlives the connection. */
export function toConnect ({ clientId, username, password, keepAliveS, sessionExpiryS, receiveMaximum }: Connecting): IConnectPacket {
  return {
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 5,
    clean: false,
    clientId,
    keepalive: keepAliveS,
    properties: { sessionExpiryInterval: sessionExpiryS, receiveMaximum },
    ...username === null ? {} : { username },
    ...password === null ? {} : { password }
  }
}
