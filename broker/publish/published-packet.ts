import type { PublishPacket } from 'aedes'
import type { MessageProperties } from '../session/delivery.ts'

/** What a publish of an MQTT 5 client has beside the fields of MQTT 3.1.1. */
interface Extension {
  readonly clientId?: string
  properties?: MessageProperties | null
}

/**
 * A publish of an MQTT 5 client. Aedes passes `properties` on without looking at them, so they are in the form that
 * sessions keep, and not in that of mqtt-packet.
 */
export type PublishPacket5 = Omit<PublishPacket, 'properties'> & Extension

/** @returns the same object, for code that takes packets of any version */
export function toAnyPublish (packet: PublishPacket5): PublishPacket {
  return packet as unknown as PublishPacket
}

/** @returns the same object, to read what MQTT 5 adds */
export function toExtension (packet: object): Extension {
  return packet
}
