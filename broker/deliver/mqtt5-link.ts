import type { Connection } from '../connection.ts'
import type { Mqtt5Client } from '../mqtt5/mqtt5-client.ts'
import type { Delivery, DeliveryOptions, Encoded, Message, MessageProperties } from '../session/delivery.ts'
import type { Session } from '../session/session.ts'
import { PUBREL } from '../wire/fixed-header.ts'
import { encodeAck5, encodePublish5 } from '../wire/v5/encode.ts'
import { REASONS5 } from '../wire/v5/reason-codes.ts'
import { ConnectionLink } from './link.ts'

interface Mqtt5LinkOptions {
  readonly connection: Connection
  readonly client: Mqtt5Client
  readonly session: Session
  /** Deliveries in flight at most; the client's Receive Maximum may be less [MQTT-3.3.4-9]. */
  readonly windowMax: number
  /** A delivery was dropped: the client takes no packet of its size [MQTT-3.1.2-25]. */
  readonly onTooLarge: () => void
}

interface PublishOptions {
  readonly qos: 0 | 1 | 2
  readonly isRetained: boolean
  readonly isDuplicate: boolean
  readonly packetId: number
  readonly identifiers: readonly number[]
}

/** A connection of MQTT 5 to a subscriber. */
export class Mqtt5Link extends ConnectionLink {
  readonly #client: Mqtt5Client
  readonly #onTooLarge: () => void

  constructor ({ connection, client, session, windowMax, onTooLarge }: Mqtt5LinkOptions) {
    super(connection, session, Math.min(windowMax, client.receiveMaximum))
    this.#client = client
    this.#onTooLarge = onTooLarge
  }

  override sendUnacknowledged (message: Message, { isRetained, identifiers }: DeliveryOptions, encoded: Encoded): void {
    const alias = this.#client.aliases.toOutbound(message.topic)
    const isCommon = alias === null && !isRetained && identifiers.length === 0 && !expires(message.properties)
    const known = isCommon ? encoded.mqtt5 : null
    const packet = known ?? encode(message, alias, { qos: 0, isRetained, isDuplicate: false, packetId: 0, identifiers })
    if (isCommon) encoded.mqtt5 = packet
    this.#writeIfTaken(packet, message, alias)
  }

  override send (
    { message, qos, isRetained, packetId, identifiers }: Delivery & { readonly message: Message }, isDuplicate: boolean
  ): boolean {
    const alias = this.#client.aliases.toOutbound(message.topic)
    const packet = encode(message, alias, { qos, isRetained, isDuplicate, packetId, identifiers })
    return this.#writeIfTaken(packet, message, alias)
  }

  override release (packetId: number): void {
    this.write(encodeAck5(PUBREL, packetId, REASONS5.success, null, null))
  }

  #writeIfTaken (packet: Buffer, message: Message, alias: { readonly isNew: boolean } | null): boolean {
    const { maximumPacketSize, aliases } = this.#client
    if (maximumPacketSize === null || packet.length <= maximumPacketSize) {
      this.write(packet)
      return true
    }
    // The client never saw what the alias stands for.
    if (alias?.isNew === true) aliases.forget(message.topic)
    this.#onTooLarge()
    return false
  }
}

const expires = (properties: MessageProperties | null) => properties !== null && properties.expiresAtMs !== Infinity

function encode (
  { topic, payload, properties }: Message, alias: { readonly alias: number, readonly isNew: boolean } | null,
  { qos, isRetained, isDuplicate, packetId, identifiers }: PublishOptions
): Buffer {
  return encodePublish5({
    topic: alias?.isNew === false ? '' : topic,
    topicAlias: alias?.alias ?? null,
    payload,
    qos,
    isRetained,
    isDuplicate,
    packetId,
    messageExpiryS: properties === null || !expires(properties) ? null : toSecondsLeft(properties.expiresAtMs),
    subscriptionIdentifiers: identifiers,
    forwarded: properties?.forwarded ?? null
  })
}

/** [MQTT-3.3.2-6] */
function toSecondsLeft (expiresAtMs: number): number {
  return Math.max(0, Math.ceil((expiresAtMs - performance.now()) / 1000))
}
